"""Supervision: how a service ends decides whether it is done, started again, or ends the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import supervise
from agent.backoff import Backoff
from agent.errors import CannotListen, ConfigError
from agent.health import HealthRegistry
from agent.supervise import supervised
from cloud_sink import server


class Life:
    """A service that fails after each of its `lives` in seconds, then returns; its clock stands still otherwise."""

    def __init__(self, *lives: float, error: Callable[[], BaseException] = lambda: RuntimeError("broken")) -> None:
        self.lives, self.error = list(lives), error
        self.now, self.pauses = 100.0, list[float]()

    async def run(self) -> None:
        if self.lives:
            self.now += self.lives.pop(0)
            raise self.error()

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    async def supervised(self, backoff: Backoff | None = None) -> list[int]:
        told: list[int] = []
        await supervised(
            "part",
            self.run,
            lambda _name, failures, _error: told.append(failures),
            backoff=backoff,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return told


async def test_a_service_that_ran_well_has_the_first_pause_again() -> None:
    life = Life(0.0, 0.0, 0.0, 61.0, 0.0)
    assert await life.supervised(server.BACKOFF) == [1, 2, 3, 4, 5]
    assert life.pauses == [1, 2, 4, 1, 2]


@given(st.lists(st.integers(0, 480).map(lambda quarters: quarters / 4), max_size=30))  # their sums are exact
def test_every_failure_is_told_and_followed_by_a_pause(lives: list[float]) -> None:
    life = Life(*lives)
    assert asyncio.run(life.supervised()) == list(range(1, len(lives) + 1))
    expected, row = [], 0
    for seconds in lives:
        row = 1 if seconds > supervise.WELL else row + 1
        expected.append((1.0, 5.0, 30.0)[min(row, 3) - 1])
    assert life.pauses == expected


@pytest.mark.parametrize("fatal", [False, True])
async def test_only_a_service_that_cannot_listen_is_fatal(fatal: bool) -> None:
    life = Life(0.0, 0.0, error=lambda: CannotListen("taken") if fatal else ConfigError("not a selector"))
    health = HealthRegistry()
    if fatal:
        with pytest.raises(ConfigError):
            await supervised("api", life.run, health.restarted, clock=lambda: life.now, sleep=life.sleep)
        assert (len(life.lives), health.list()) == (1, [])
    else:
        await supervised("sources", life.run, health.restarted, clock=lambda: life.now, sleep=life.sleep)
        assert [(w.code, w.subject) for w in health.list()] == [("service.restarted", "sources")]
        assert "stopped 2 times: not a selector" in health.list()[0].text
        assert life.lives == []


async def test_a_port_that_is_taken_later_is_tried_again() -> None:
    life = Life(supervise.STARTING, error=lambda: CannotListen("taken"))
    assert await life.supervised() == [1]


async def test_a_group_of_faults_is_one_failure_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    life = Life(0.0, error=lambda: BaseExceptionGroup("tasks", [RuntimeError("first"), RuntimeError("second")]))
    with caplog.at_level(logging.ERROR):
        assert await life.supervised() == [1]
    assert "part stopped by an internal error" in caplog.text
    assert "second" in caplog.text


async def test_a_cancelled_service_ends_without_a_failure() -> None:
    told: list[str] = []
    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervised("part", run, lambda name, _n, _e: told.append(name)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == []
