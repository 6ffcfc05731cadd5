"""This node's free capacity and its cameras, announced to the mesh."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from agent import ticks
from agent.cameras import CameraBook
from agent.config import PolicyConfig
from agent.delivery import Journal
from agent.mesh import Mesh
from agent.model.node import MAX_PROGRAMS, Capacity, Reserved

FIRST = 1.0
"""Seconds over which the first CPU use is measured."""
EVERY = 5.0
"""Seconds between two announcements at least."""
CHANGE = 0.1
"""Change of a part of the capacity, as a share, from which on it is announced."""
_LEAST = Capacity(cpus=0.5, memory=64 << 20, free=1, gpus=1)
"""Smaller values count as these in the comparison: noise of an idle machine is no change."""


@dataclass(frozen=True, kw_only=True)
class CapacityMeter:
    """Measures what this node can still take, within the owner's policy.

    All CPU use of this machine counts against the owner's share; reservations count instead where they are
    more. `reserved` sums up what the running programs have reserved, `programs` names those; `gpus` is how many this machine has.
    """

    policy: PolicyConfig
    journal: Journal
    reserved: Callable[[], Reserved]
    programs: Callable[[], list[str]]
    gpus: int = 0

    def now(self) -> Capacity:
        """The free capacity. CPU use is the mean since the last call."""
        taken, cores = self.reserved(), os.cpu_count() or 1
        memory = psutil.virtual_memory()
        used = psutil.cpu_percent(interval=None) / 100 * cores
        return Capacity(
            cpus=round(max(0.0, cores * self.policy.cpus - max(used, taken.cpus)), 2),
            memory=max(1, min(memory.available, int(memory.total * self.policy.memory) - taken.memory)),
            free=max(1, self.journal.room() // 100),
            gpus=max(0, self.gpus - taken.gpus),
            all_gpus=self.gpus,
            programs=self.programs()[:MAX_PROGRAMS],
        )


def differs(old: Capacity, new: Capacity) -> bool:
    """Whether a part changed by more than CHANGE, or other programs run."""
    pairs = ((old.cpus, new.cpus), (old.memory, new.memory), (old.free, new.free), (old.gpus, new.gpus))
    if old.programs != new.programs:
        return True
    least = (_LEAST.cpus, _LEAST.memory, _LEAST.free, _LEAST.gpus)
    return any(abs(b - a) > CHANGE * max(a, low) for (a, b), low in zip(pairs, least, strict=True))


async def announce_capacity(mesh: Mesh, meter: CapacityMeter, cameras: CameraBook) -> None:
    """Announce the free capacity and the cameras when they change, until cancelled."""
    told: Capacity | None = None
    shown = cameras.infos()
    mesh.announce(cameras=shown)
    meter.now()  # the first reading of the CPU use has no earlier reading to compare with
    await asyncio.sleep(FIRST)
    while True:
        capacity, seen = meter.now(), cameras.infos()
        if told is None or seen != shown or differs(told, capacity):
            told, shown = capacity, seen
            mesh.announce(capacity=capacity, cameras=seen)
        await ticks.sleep(EVERY)
