"""The order in which waiting events are taken."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.delivery import Context, row_queue
from agent.delivery.row_queue import AWAKE, LATER, RowQueue
from agent.delivery.rows import Row, State
from agent.delivery.sender import Senders
from agent.delivery.shelf import Shelf
from agent.delivery.wire import DeliverRequest, Verdict
from agent.delivery.writable_row import writable
from agent.model.alert import Hop
from tests.delivery.driver import Driven
from tests.delivery.events import event


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(row_queue, "boottime", lambda: made.now)
    return made


def row(journal: Driven, name: str, **data: Any) -> Row:
    made = event(name)
    made.data.update(data)
    return journal.new(made, "p", "v", "labels")


def taken(queue: RowQueue) -> list[str]:
    return [queue.take()[0].event.id for _ in range(len(queue))]


def test_first_photos_of_many_arrivals_come_before_any_second(journal: Driven, clock: Clock) -> None:
    queue = RowQueue()
    for arrival in range(20):
        clock.now += 0.5
        for camera in "abcd":
            for shot in (0, 1):
                queue.put(row(journal, f"{shot}-{arrival:02}-{camera}", shot=shot))
    order = taken(queue)
    assert order == sorted(order)


def test_second_photos_go_before_first_photos_of_much_later(journal: Driven, clock: Clock) -> None:
    queue = RowQueue()
    queue.put(row(journal, "second", shot=1))
    clock.now += LATER + 1
    queue.put(row(journal, "late", shot=0))
    assert taken(queue) == ["second", "late"]


@pytest.mark.parametrize("shot", ["1", None, -3, 10**30, [1], True])
def test_events_with_odd_shots_are_taken_too(journal: Driven, clock: Clock, shot: Any) -> None:
    queue = RowQueue()
    queue.put(row(journal, "odd", shot=shot))
    queue.put(row(journal, "plain"))
    assert sorted(taken(queue)) == ["odd", "plain"]


def test_the_lag_is_that_of_the_oldest_event(journal: Driven, clock: Clock) -> None:
    queue = RowQueue()
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
    queue = RowQueue()
    for number, pause in enumerate(pauses):
        clock.now += pause
        queue.put(row(journal, f"{number:02}"))
    assert taken(queue) == [f"{n:02}" for n in range(len(pauses))]


def test_events_that_wait_for_long_are_packed_and_read_the_same(journal: Driven, clock: Clock) -> None:
    queue = RowQueue()
    made = [row(journal, f"{n:04}", shot=n % 2) for n in range(2 * AWAKE)]
    before = [(r.key, r.event, r.trace) for r in made]
    for r in made:
        clock.now += 0.001
        queue.put(r)
    assert [(r.key, r.event, r.trace) for r in made] == before
    assert sum(r.event is r.event for r in made) == AWAKE
    order = taken(queue)
    assert order == sorted(order, key=lambda name: (int(name) % 2, name))
    assert all(r.event is r.event for r in made)
    assert [(r.key, r.event, r.trace) for r in made] == before


def test_a_packed_event_gets_a_new_trace(journal: Driven, clock: Clock) -> None:
    it = writable(row(journal, "a"))
    it.pack(Shelf())
    it.trace = (Hop("seen", "ap", 1.0),)
    assert it.trace == (Hop("seen", "ap", 1.0),)
    it.unpack()
    assert (it.trace, it.event.id) == ((Hop("seen", "ap", 1.0),), "a")


class _Mesh:
    """A way to a node that takes everything and remembers what came."""

    def __init__(self, expected: int) -> None:
        self.came: list[str] = []
        self.all = asyncio.Event()
        self._expected = expected

    async def call(self, node: str, name: str, body: bytes, *, timeout: float) -> bytes:
        items = msgspec.msgpack.decode(body, type=DeliverRequest).items
        self.came += [msgspec.json.decode(item.event)["id"] for item in items]
        if len(self.came) == self._expected:
            self.all.set()
        return msgspec.msgpack.encode([Verdict("accepted")] * len(items))


async def test_first_photos_go_to_another_node_before_any_second(journal: Driven, clock: Clock) -> None:
    mesh = _Mesh(160)
    changes = SimpleNamespace(placed=lambda rows: rows)
    senders = Senders(cast("Context", SimpleNamespace(mesh=mesh, lifecycle=changes, apply=lambda rows: rows)))
    for arrival in range(20):
        clock.now += 0.5
        for camera in "abcd":
            for shot in (0, 1):
                name = f"{shot}-{arrival:02}-{camera}"
                made = writable(row(journal, name, shot=shot))
                made.target, made.state = "box", State.SENDING
                senders.send(made)
    running = asyncio.create_task(senders.run())
    await asyncio.wait_for(mesh.all.wait(), 10)
    running.cancel()
    assert mesh.came == sorted(mesh.came)
