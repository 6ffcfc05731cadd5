"""Nodes that decide together: real journals, a mesh in memory, and one clock that a test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.delivery import Journal, deciders, decisions
from agent.delivery import validation as limits
from agent.delivery.deciders import Deciders
from agent.model.placement import rank
from agent.steps import DeviceRecords, presence
from agent.steps.presence import Presence
from tests.doubles import MemoryNet


class Clock:
    """Seconds since some start, the same for all nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1e6
        for module in (deciders, decisions, presence, limits):
            monkeypatch.setattr(module, "boottime", lambda: self.now, raising=False)


class Council:
    """`start` some nodes; `decider(key)` is whom the key's hash ranks first."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.net = MemoryNet()
        self.deciders: dict[str, Deciders] = {}
        self.devices: dict[str, DeviceRecords] = {}
        self.presence: dict[str, Presence] = {}

    def start(self, *names: str) -> None:
        for name in names:
            mesh = self.net.join(name)
            journal = Journal(self.path / f"{name}.db")
            journal.open()
            self.deciders[name] = Deciders(name, mesh, journal)
            self.devices[name] = DeviceRecords(self.deciders[name])
            self.presence[name] = Presence(self.devices[name])
            self.deciders[name].load()

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
