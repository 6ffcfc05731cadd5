"""The order in which a step takes its waiting events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.delivery import step_queue
from agent.delivery.rows import Row
from agent.delivery.step_queue import LATER, StepQueue
from tests.delivery.driver import Driven
from tests.delivery.events import event


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(step_queue, "boottime", lambda: made.now)
    return made


def row(journal: Driven, name: str, **data: Any) -> Row:
    made = event(name)
    made.data.update(data)
    return journal.new(made, "p", "v", "labels")


def taken(queue: StepQueue) -> list[str]:
    return [queue.take().event.id for _ in range(len(queue))]


def test_first_photos_of_many_arrivals_come_before_any_second(journal: Driven, clock: Clock) -> None:
    queue = StepQueue()
    for arrival in range(20):
        clock.now += 0.5
        for camera in "abcd":
            for shot in (0, 1):
                queue.put(row(journal, f"{shot}-{arrival:02}-{camera}", shot=shot))
    order = taken(queue)
    assert order == sorted(order)


def test_second_photos_go_before_first_photos_of_much_later(journal: Driven, clock: Clock) -> None:
    queue = StepQueue()
    queue.put(row(journal, "second", shot=1))
    clock.now += LATER + 1
    queue.put(row(journal, "late", shot=0))
    assert taken(queue) == ["second", "late"]


@pytest.mark.parametrize("shot", ["1", None, -3, 10**30, [1], True])
def test_events_with_odd_shots_are_taken_too(journal: Driven, clock: Clock, shot: Any) -> None:
    queue = StepQueue()
    queue.put(row(journal, "odd", shot=shot))
    queue.put(row(journal, "plain"))
    assert sorted(taken(queue)) == ["odd", "plain"]


def test_the_lag_is_that_of_the_oldest_event(journal: Driven, clock: Clock) -> None:
    queue = StepQueue()
    assert queue.lag() == 0.0
    queue.put(row(journal, "second", shot=1))
    clock.now += 4
    queue.put(row(journal, "first", shot=0))
    clock.now += 3
    assert queue.lag() == 7.0
    queue.take()
    assert queue.lag() == 7.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 10), max_size=30))
def test_events_without_shots_are_taken_as_they_came(journal: Driven, clock: Clock, pauses: list[float]) -> None:
    queue = StepQueue()
    for number, pause in enumerate(pauses):
        clock.now += pause
        queue.put(row(journal, f"{number:02}"))
    assert taken(queue) == [f"{n:02}" for n in range(len(pauses))]
