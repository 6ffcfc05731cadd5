"""Services that stop are started again; only one that cannot listen where it should ends the agent."""

from __future__ import annotations

import socket

import pytest

from agent import supervise
from agent.errors import ConfigError
from agent.health import HealthRegistry
from agent.supervise import supervised
from tests.node.house import House
from tests.support import eventually


@pytest.mark.parametrize("listens", [False, True])
async def test_a_service_that_does_not_listen_is_started_again_after_a_wrong_value(
    listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "PAUSES", (0.0,))
    health, runs = HealthRegistry(), []

    async def run() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ConfigError("not a selector")

    if listens:
        with pytest.raises(ConfigError):
            await supervised("api", run, health, listens=listens)
    else:
        await supervised("sources", run, health, listens=listens)
        assert [w.code for w in health.list()] == ["service.restarted"]
    assert len(runs) == (1 if listens else 3)


async def test_an_agent_that_cannot_listen_ends_and_one_whose_sources_fail_goes_on(house: House) -> None:
    async def broken() -> None:
        raise ConfigError("not a selector")

    hall = house.agent("hall")
    hall.sources.run = broken  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", house.ports["hall"][1])), pytest.raises(ExceptionGroup) as caught:
        await hall.run()
    assert caught.group_contains(ConfigError, match="cannot listen")
    again = house.agent("hall")
    again.sources.run = broken  # type: ignore[method-assign]
    await house.run("hall", again)
    await eventually(lambda: any(w.code == "service.restarted" for w in again.health.list()))
    assert not house.running["hall"][1].done()
