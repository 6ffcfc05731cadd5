"""The capacity that a node announces: what is free, and only when it changes enough."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.config import PolicyConfig
from agent.delivery import Journal
from agent.model.node import Capacity, Reserved
from agent.node import capacity as module
from agent.node.capacity import CapacityMeter, announce_capacity, differs
from tests.support import eventually

CORES = os.cpu_count() or 1
GIB = 1 << 30
BASE = Capacity(cpus=2.0, memory=2 * GIB, free=100, gpus=1)


def meter(tmp_path: Path, taken: Reserved, *, gpus: int = 2) -> CapacityMeter:
    policy = PolicyConfig(cpus=1.0, memory=0.5)
    return CapacityMeter(policy=policy, journal=Journal(tmp_path / "j.db"), reserved=lambda: taken, gpus=gpus)


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


async def test_capacity_is_announced_once_while_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, said, now = 0, [], Capacity(cpus=1.0, memory=GIB, free=10)

    class Mesh:
        def announce(self, *, capacity: Capacity, cameras: list[Any]) -> None:
            said.append(capacity.cpus)

    class Cameras:
        def infos(self) -> list[Any]:
            return []

    class Meter:
        def now(self) -> Capacity:
            nonlocal looks
            looks += 1
            return now

    async def sleep(seconds: float) -> None:
        assert seconds == module.EVERY
        await asyncio.sleep(0)

    monkeypatch.setattr(module.ticks, "sleep", sleep)
    made: Any = (Mesh(), Meter(), Cameras())
    task = asyncio.create_task(announce_capacity(*made))
    await eventually(lambda: looks > 5)
    now = Capacity(cpus=0.5, memory=GIB, free=10)
    await eventually(lambda: len(said) > 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert said == [1.0, 0.5]
