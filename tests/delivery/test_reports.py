"""Reports wait for the disk, and a moment for each other; a failure, on which the producer has to act, does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.delivery import reports as module
from agent.delivery.changes import Changes
from agent.delivery.lifecycle import Lifecycle
from agent.delivery.reports import Reports
from agent.delivery.rows import End, Row, State
from agent.delivery.wire import Report
from agent.delivery.writable_row import new_row
from agent.model.event import Event
from tests.delivery.driver import Driven
from tests.support import eventually


class Mesh:
    """Hears every report."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []

    def on_change(self, _callback: Callable[..., None]) -> None:
        pass

    def is_live(self, _node: str) -> bool:
        return True

    def is_removed(self, _node: str) -> bool:
        return False

    async def call(self, _node: str, _verb: str, body: bytes, *, timeout: float) -> bytes:
        self.heard.append([r.event for r in msgspec.msgpack.decode(body, type=list[Report])])
        return b""


@asynccontextmanager
async def running(journal: Driven) -> AsyncIterator[tuple[Reports, Mesh]]:
    mesh = Mesh()
    context: Any = SimpleNamespace(
        mesh=mesh, journal=journal, lifecycle=Lifecycle(journal, "here", lambda *_: None), apply=journal.write
    )
    reports = Reports(context)
    task = asyncio.create_task(reports.run())
    await asyncio.sleep(0)
    try:
        yield reports, mesh
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ended(n: int, end: End = "delivered") -> Row:
    event = Event(id=f"e{n}", source="/x/p/s", type="t", time="", data={})
    return new_row(n, event, "p", "v", "s", state=State.ENDED, end=end, claims={"producer": 0})


async def test_nothing_is_told_that_a_death_could_undo(journal: Driven) -> None:
    disk = threading.Event()
    async with running(journal) as (reports, mesh):
        journal.storage.write(lambda _: disk.wait(10))
        row = ended(1)
        written = journal.commit(add=[row])
        reports.add(row)
        await eventually(lambda: reports._busy or mesh.heard)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not mesh.heard
        assert not written.done()
        disk.set()
        await eventually(lambda: mesh.heard == [["e1"]])
        assert written.done()


async def test_what_was_asked_for_again_meanwhile_is_not_told_any_more(journal: Driven) -> None:
    disk = threading.Event()
    async with running(journal) as (reports, mesh):
        journal.storage.write(lambda _: disk.wait(10))
        first, second = ended(1, "failed"), ended(2)
        journal.commit(add=[first, second])
        reports.add(second)
        reports.add(first)
        await eventually(lambda: reports._busy)
        reports.context.lifecycle.delivered_again(first, "producer", 1, Changes())  # it runs once more
        disk.set()
        await eventually(lambda: mesh.heard)
        assert mesh.heard == [["e2"]]


async def test_what_ended_together_is_told_in_one_request(journal: Driven) -> None:
    async with running(journal) as (reports, mesh):
        reports.add(ended(1))
        reports.add(ended(2))
        await eventually(lambda: bool(mesh.heard))
        assert mesh.heard == [["e1", "e2"]]


async def test_a_failure_is_told_at_once_with_what_waited(journal: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 3600.0)
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    async with running(journal) as (reports, mesh):
        reports.add(ended(1))
        reports.add(ended(2, "failed"))
        await eventually(lambda: bool(mesh.heard))
        assert mesh.heard == [["e1", "e2"]]


async def test_a_whole_batch_waits_for_nothing(journal: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 3600.0)
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    async with running(journal) as (reports, mesh):
        for n in range(module.BATCH):
            reports.add(ended(n))
        await eventually(lambda: bool(mesh.heard))
        assert len(mesh.heard[0]) == module.BATCH
