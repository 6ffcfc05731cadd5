"""The doubles themselves: time that jumps, a disk that a node's death interrupts, a network that loses and repeats."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextvars import copy_context
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent import ticks
from agent.clock import boottime
from agent.errors import EdgeError, Unreachable
from tests.doubles import CLOCK, Disk, SimulatedMesh, SimulatedNet, SimulatedStorage, Stalled, Weather, run_virtually


def test_an_hour_of_virtual_time_passes_at_once() -> None:
    async def sleep() -> float:
        before = boottime()
        await asyncio.sleep(3600)
        await ticks.sleep(10.0)
        return boottime() - before

    began = time.monotonic()
    assert run_virtually(sleep()) == pytest.approx(3610, abs=ticks.GRID)
    assert time.monotonic() - began < 5.0


def test_real_clock_is_back_after_virtual_time() -> None:
    run_virtually(asyncio.sleep(1e6))
    assert boottime() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5.0)


def test_each_node_has_its_clock() -> None:
    async def main() -> float:
        ahead = copy_context()
        ahead.run(CLOCK.set, 50.0)
        return ahead.run(boottime) - boottime()

    assert run_virtually(main()) == 50.0


def test_waiting_for_nothing_is_an_error() -> None:
    with pytest.raises(Stalled):
        run_virtually(asyncio.Event().wait())


def _put(value: int) -> Any:
    return lambda db: db.execute("INSERT INTO position VALUES (?, '0')", (value,))


def _values(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return [v for (v,) in db.execute("SELECT stream FROM position ORDER BY stream")]
    finally:
        db.close()


@pytest.mark.parametrize(("before", "left"), [(True, ["1"]), (False, ["1", "2"])])
def test_death_at_a_commit_loses_only_what_is_later(tmp_path: Path, before: bool, left: list[str]) -> None:
    disk = Disk(tmp_path / "j.db", die_at=2, die_before=before)
    answered: list[int] = []

    async def main() -> None:
        storage = SimulatedStorage(disk)
        disk.on_death = storage.die
        storage.start()
        for value in (1, 2, 3):
            storage.write(_put(value)).add_done_callback(lambda _, value=value: answered.append(value))
        await asyncio.sleep(1.0)

    run_virtually(main())
    assert answered == [1]
    assert _values(disk.path) == left


def test_writes_share_a_commit_and_stop_writes_the_rest(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "j.db", random=Random(1), largest=50)

    async def main() -> None:
        storage = SimulatedStorage(disk)
        storage.start()
        await asyncio.gather(*(storage.write(_put(i)) for i in range(100)))
        assert disk.commits < 50
        storage.write(_put(100))
        storage.stop()

    run_virtually(main())
    assert len(_values(disk.path)) == 101


class Pair:
    """Two nodes; `b` counts what it serves."""

    def __init__(self, weather: Weather) -> None:
        self.net = SimulatedNet(Random(1), weather)
        self.a, self.b = (SimulatedMesh(self.net, name, {}, "1", copy_context()) for name in "ab")
        self.changes: list[tuple[str, bool]] = []
        self.count = 0
        self.b.serve("count", self._count)
        self.a.on_change(lambda record, alive: self.changes.append((record.id, alive)))

    async def _count(self, peer: Any, body: bytes) -> bytes:
        self.count += 1
        if body == b"fault":
            raise ValueError
        return b"%d from %s" % (self.count, peer.id.encode())

    async def meet(self) -> None:
        self.net.join(self.a)
        self.net.join(self.b)
        await asyncio.sleep(2 * self.net.weather.notice + 0.1)


def test_lost_answer_means_the_work_was_done() -> None:
    async def main() -> None:
        pair = Pair(Weather(lose_answer=1.0))
        await pair.meet()
        with pytest.raises(Unreachable):
            await pair.a.call("b", "count", b"")
        assert pair.count == 1

    run_virtually(main())


def test_lost_request_means_that_nothing_was_done() -> None:
    async def main() -> None:
        pair = Pair(Weather(lose_request=1.0))
        await pair.meet()
        with pytest.raises(Unreachable):
            await pair.a.call("b", "count", b"")
        assert pair.count == 0

    run_virtually(main())


def test_repeated_request_is_served_twice_and_answered_once() -> None:
    async def main() -> None:
        pair = Pair(Weather(repeat=1.0, slowest=1.0))
        await pair.meet()
        assert await pair.a.call("b", "count", b"") in (b"1 from a", b"2 from a")
        await asyncio.sleep(10.0)
        assert pair.count == 2

    run_virtually(main())


def test_cut_pair_is_noticed_late_and_heals() -> None:
    async def main() -> None:
        pair = Pair(Weather(notice=10.0))
        await pair.meet()
        assert pair.a.is_live("b")
        pair.net.part("a", "b")
        assert pair.a.is_live("b")
        with pytest.raises(Unreachable):
            await pair.a.call("b", "count", b"")
        await asyncio.sleep(10.0)
        assert not pair.a.is_live("b")
        pair.net.heal("a", "b")
        await asyncio.sleep(10.0)
        assert await pair.a.call("b", "count", b"") == b"1 from a"
        assert pair.changes == [("b", True), ("b", False), ("b", True)]

    run_virtually(main())


def test_fault_of_a_handler_is_kept_for_the_test() -> None:
    async def main() -> None:
        pair = Pair(Weather())
        await pair.meet()
        with pytest.raises(EdgeError, match="fault"):
            await pair.a.call("b", "count", b"fault")
        assert pair.net.faults == ["b count: ValueError()"]

    run_virtually(main())
