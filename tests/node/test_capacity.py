"""The capacity that a node announces: what is free, and only when it changes enough."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from agent.config import PolicyConfig
from agent.delivery import Journal
from agent.model.node import CameraInfo, Capacity, Reserved
from agent.node import capacity as module
from agent.node.capacity import CapacityMeter, announce_capacity, differs
from tests.support import eventually

CORES = os.cpu_count() or 1
real_sleep = asyncio.sleep
GIB = 1 << 30
BASE = Capacity(cpus=2.0, memory=2 * GIB, free=100, gpus=1)


def meter(tmp_path: Path, taken: Reserved, *, gpus: int = 2, cpus: float = 1.0) -> CapacityMeter:
    policy = PolicyConfig(cpus=cpus, memory=0.5)
    return CapacityMeter(
        policy=policy, journal=Journal(tmp_path / "j.db"), reserved=lambda: taken, programs=list, gpus=gpus
    )


def test_reservations_are_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 0.0)
    total = psutil.virtual_memory().total
    none, some = (meter(tmp_path, t).now() for t in (Reserved(), Reserved(CORES / 2, total // 2 - 1000, 1)))
    assert (none.cpus, none.gpus) == (CORES, 2)
    assert 0 < none.memory <= total // 2
    assert (some.cpus, some.memory, some.gpus) == (CORES / 2, 1000, 1)


def test_use_beyond_the_reservations_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 75.0)
    assert meter(tmp_path, Reserved()).now().cpus == CORES / 4
    assert meter(tmp_path, Reserved(CORES / 2)).now().cpus == CORES / 4


@pytest.mark.parametrize(("used", "free"), [(0.0, 0.5), (25.0, 0.25), (50.0, 0.0), (100.0, 0.0)])
def test_use_counts_against_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: float, free: float
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: used)
    assert meter(tmp_path, Reserved(), cpus=0.5).now().cpus == CORES * free


def test_memory_in_use_by_others_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=GIB))
    assert meter(tmp_path, Reserved()).now().memory == GIB
    assert meter(tmp_path, Reserved(memory=4 * GIB - 5)).now().memory == 5


def test_free_room_is_that_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = meter(tmp_path, Reserved())
    for room, free in ((7_000, 70), (0, 1)):
        monkeypatch.setattr(Journal, "room", lambda self, room=room: room)
        assert made.now().free == free


def test_an_overcommitted_node_announces_no_negative_capacity(tmp_path: Path) -> None:
    made = meter(tmp_path, Reserved(10.0 * CORES, 1 << 50, 9)).now()
    assert (made.cpus, made.memory, made.gpus) == (0.0, 1, 0)


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({}, False),
        ({"cpus": 1.85}, False),
        ({"cpus": 1.75}, True),
        ({"memory": 2 * GIB - (100 << 20)}, False),
        ({"memory": GIB}, True),
        ({"free": 95}, False),
        ({"free": 80}, True),
        ({"gpus": 0}, True),
    ],
)
def test_a_change_is_told_above_ten_per_cent(new: dict[str, Any], told: bool) -> None:
    changed = Capacity(**{"cpus": 2.0, "memory": 2 * GIB, "free": 100, "gpus": 1} | new)
    assert differs(BASE, changed) is told
    assert differs(changed, BASE) is told


def test_noise_of_an_idle_core_is_no_change() -> None:
    assert not differs(Capacity(cpus=0.0), Capacity(cpus=0.04))


class Announcing:
    """A node whose capacity and cameras a test sets; `looks` counts the measurements, `said` has the announcements."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capacity = Capacity(cpus=1.0, memory=GIB, free=10)
        self.cameras: list[CameraInfo] = []
        self.said: list[tuple[float, list[str]]] = []
        self.looks = 0
        self.first: list[str] | None = None
        monkeypatch.setattr(module.ticks, "sleep", self._sleep)
        monkeypatch.setattr(module.asyncio, "sleep", self._first)
        self.waited: list[int] = []

    async def _sleep(self, seconds: float) -> None:
        assert seconds == module.EVERY
        await real_sleep(0)

    async def _first(self, seconds: float) -> None:
        if seconds == module.FIRST:
            self.waited.append(self.looks)
        await real_sleep(min(seconds, 0.01))

    def announce(self, *, cameras: list[CameraInfo], capacity: Capacity | None = None) -> None:
        if capacity is None:
            assert not self.looks, "only the first announcement has no capacity"
            self.first = [c.name for c in cameras]
        else:
            self.said.append((capacity.cpus, [c.name for c in cameras]))

    def infos(self) -> list[CameraInfo]:
        return list(self.cameras)

    def now(self) -> Capacity:
        self.looks += 1
        return self.capacity


@pytest.fixture
async def announcing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Announcing]:
    made = Announcing(monkeypatch)
    mesh: Any = made
    task = asyncio.create_task(announce_capacity(mesh, mesh, mesh))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_capacity_is_announced_once_while_it_stays(announcing: Announcing) -> None:
    await eventually(lambda: announcing.looks > 5)
    announcing.capacity = Capacity(cpus=0.5, memory=GIB, free=10)
    await eventually(lambda: len(announcing.said) > 1)
    assert [cpus for cpus, _ in announcing.said] == [1.0, 0.5]


async def test_a_changed_camera_is_announced(announcing: Announcing) -> None:
    await eventually(lambda: announcing.looks > 5)
    announcing.cameras = [CameraInfo("door", "file")]
    await eventually(lambda: len(announcing.said) > 1)
    looks = announcing.looks
    await eventually(lambda: announcing.looks > looks + 3)
    assert announcing.said == [(1.0, []), (1.0, ["door"])]


async def test_the_first_announcement_waits_for_a_measurement(announcing: Announcing) -> None:
    await eventually(lambda: announcing.said)
    assert announcing.waited == [1]
    assert announcing.first == []  # the cameras are known at once
