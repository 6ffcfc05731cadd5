"""Nodes that decide together: real journals, a mesh in memory, and one clock that a test moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import clock as clocks
from agent.database import Storage
from agent.delivery import Journal
from agent.delivery.deciders import Deciders
from agent.delivery.journal import JOURNAL
from agent.model.event import Event
from agent.model.placement import rank
from agent.model.task import StepOutput
from agent.steps import DeviceRecords
from agent.steps.learning import decider_key
from agent.steps.presence import Presence, PresenceTask
from tests.doubles import MemoryNet

FAST = replace(JOURNAL, synchronous="OFF")
"""The journal's schema without waits for the disk: no test here cuts the power."""


class Clock:
    """Seconds since some start, the same for all nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1e6
        monkeypatch.setattr(clocks, "_read", lambda: self.now)
        self._paused = asyncio.Event()
        self._until: dict[asyncio.Task[Any], tuple[float, asyncio.Event]] = {}

    async def pause(self, seconds: float) -> None:
        """Wait until `pass_to` brings the time."""
        task, due = asyncio.current_task(), asyncio.Event()
        assert task is not None
        self._until[task] = (self.now + seconds, due)
        self._paused.set()
        await due.wait()

    async def settled(self, task: asyncio.Task[Any]) -> None:
        """Wait until it has ended or pauses."""
        while not task.done() and task not in self._until:
            self._paused.clear()
            paused = asyncio.ensure_future(self._paused.wait())
            await asyncio.wait((task, paused), return_when=asyncio.FIRST_COMPLETED)
            paused.cancel()

    async def pass_to(self, time: float) -> None:
        """Let the time pass; a pause that ends meanwhile ends at its time."""
        while due := min(
            ((at, t) for t, (at, _) in self._until.items() if at <= time), default=None, key=lambda d: d[0]
        ):
            self.now = max(self.now, due[0])
            self._until.pop(due[1])[1].set()
            await self.settled(due[1])
        self.now = max(self.now, time)


class Council:
    """`start` some nodes; `decider(key)` is whom the key's hash ranks first."""

    def __init__(self, path: Path, clock: Clock, task: PresenceTask = PresenceTask(learn=0.0)) -> None:
        self.path = path
        self.task = task
        self.clock = clock
        self.net = MemoryNet()
        self.deciders: dict[str, Deciders] = {}
        self.devices: dict[str, DeviceRecords] = {}
        self.presence: dict[str, Presence] = {}

    def start(self, *names: str) -> None:
        for name in names:
            mesh = self.net.join(name)
            file = self.path / f"{name}.db"
            journal = Journal(file, storage=Storage(file, FAST))
            journal.open()
            self.deciders[name] = Deciders(name, mesh, journal)
            self.devices[name] = DeviceRecords(self.deciders[name])
            self.presence[name] = Presence(self.devices[name], "p/arrived", self.task, pause=self.clock.pause)
            self.deciders[name].load()
            self.devices[name].learning.load()

    async def see(self, event: Event, at: float | None = None) -> list[StepOutput]:
        """The answer of the node that decides, as a routed delivery would get it."""
        return await self.presence[self.decider(event.pipeline)].see(event, at)

    def decider(self, pipeline: str = "p") -> str:
        """The node that decides for the presence steps of a pipeline."""
        records = [m.record for m in self.net.nodes.values()]
        return rank(decider_key(pipeline), records, weighed=False)[0].id

    def task_for(self, **settings: float) -> None:
        """The presence step on every node with other settings."""
        self.task = PresenceTask(learn=0.0, **settings) if "learn" not in settings else PresenceTask(**settings)
        for name, devices in self.devices.items():
            self.presence[name] = Presence(devices, "p/arrived", self.task, pause=self.clock.pause)

    def stop(self, name: str, *, disk: bool = True) -> None:
        self.net.leave(name)
        self.deciders.pop(name).journal.close()
        del self.presence[name], self.devices[name]
        if not disk:
            for file in self.path.glob(f"{name}.db*"):
                file.unlink()

    def ranked(self, scope: str, key: str) -> list[str]:
        records = [m.record for m in self.net.nodes.values()]
        return [n.id for n in rank(f"{scope}\0{key}", records, weighed=False)]

    def cut(self, *half: str) -> None:
        """Nothing passes between these nodes and the others."""
        self.net.cut = {frozenset((a, b)) for a in half for b in self.net.nodes if b not in half}

    def close(self) -> None:
        for name in list(self.deciders):
            self.stop(name)
