"""Closed rows leave the memory; repeats, traces and restarts find them on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from agent import clock
from agent.delivery.archive import Archive
from agent.delivery.changes import Changes
from agent.delivery.rows import Key, Row, State
from tests.delivery.driver import Driven, every_row
from tests.delivery.events import event


class Clock:
    """CLOCK_BOOTTIME, driven by the test."""

    now = 1000.0


@pytest.fixture
def time() -> Iterator[Clock]:
    made = Clock()
    with clock.replaced_by(lambda: made.now):
        yield made


def opened(path: Path, **options: int) -> Driven:
    made = Driven(path / "journal.db", **options)
    made.open()
    return made


async def closed(j: Driven, ident: str, **fields: object) -> Row:
    """A row that is closed and on the disk."""
    end = fields.pop("end", "delivered")
    row = j.new(event(ident, root=str(fields.pop("root", ""))), "p", "v1", "s", **{"deadline": 9e9, **fields})
    await j.commit(add=[row])
    await j.commit(end=[(row, end, "")])  # type: ignore[list-item]
    await j.close_row(row, keep=0)
    return row


async def rested(j: Driven) -> int:
    """How many rows are in memory after closed rows have left it."""
    j.rest()
    await j.commit()
    return len(j.rows)


async def test_closed_rows_leave_the_memory_by_age(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    open_row = j.new(event("open"), "p", "v1", "s", deadline=9e9)
    await j.commit(add=[open_row])
    for i in range(40):
        await closed(j, f"e{i}")
    assert await rested(j) == 41
    time.now += 61
    assert await rested(j) == 1
    assert (len(j.by_n), len(j.children), len(j.by_cid), len(j.archive)) == (1, 0, 0, 40)
    assert len(every_row(j)) == 41
    j.close()


async def test_a_burst_of_closed_rows_does_not_stay_for_its_time(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path, recent_rows=8)
    for i in range(100):
        await closed(j, f"e{i}")
    await j.commit()
    assert len(j.rows) <= 20
    assert len(every_row(j)) == 100
    j.close()


async def test_a_repeat_finds_a_row_that_left_and_its_children(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    parent = await closed(j, "a")
    child = await closed(j, "b", root="a", parent=parent.n)
    other = await closed(j, "c", root="a")
    time.now += 61
    assert await rested(j) == 0
    again = j.find("a", "p", "s", "")
    assert again is not None
    assert (again.n, again.end, again.closed) == (parent.n, "delivered", True)
    assert [r.n for r in j.children[parent.n]] == [child.n]
    assert other.n not in j.by_n
    assert j.find("a", "p", "s", "slot") is None
    assert await rested(j) == 2  # back for its time
    time.now += 61
    assert await rested(j) == 0
    j.close()


async def test_a_row_that_left_is_taken_up_again_and_counted(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    await closed(j, "a", end="failed", claims={"ap": 2})
    time.now += 61
    assert await rested(j) == 0
    again = j.find("a", "p", "s", "")
    assert again is not None
    await j.reopen(again)
    time.now += 61
    assert await rested(j) == 1
    assert (j.open_count, j.totals()["p", "s"]["open"], j.totals()["p", "s"]["failed"]) == (1, 1, 0)
    j.close()
    j = opened(tmp_path)
    assert [(r.event.id, r.state) for r in j.rows.values()] == [("a", State.QUEUED)]
    j.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_row_stays_until_its_reports_are_heard(tmp_path: Path, time: Clock, restart: bool) -> None:
    j = opened(tmp_path)
    await closed(j, "a", claims={"ap": 2, "porch": 1})
    time.now += 61
    if restart:
        j.close()
        j = opened(tmp_path)
    assert await rested(j) == 1
    (row,) = j.rows.values()
    await j.write(j._life().told(row, "porch", 2, Changes()))
    time.now += 61
    assert await rested(j) == 0
    j.close()


async def test_a_child_stays_while_its_parent_is_open(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    parent = j.new(event("a"), "p", "v1", "s", deadline=9e9)
    await j.commit(add=[parent])
    child = await closed(j, "b", root="a", parent=parent.n, matched=True)
    time.now += 61
    assert await rested(j) == 2
    j.close()
    j = opened(tmp_path)
    assert [r.n for r in j.children[parent.n]] == [child.n]
    j.close()


async def test_a_row_that_changes_meanwhile_does_not_leave(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    row = await closed(j, "a", end="failed")
    time.now += 61
    j.rest()
    j.reopen(row)
    await j.commit()
    assert j.find("a", "p", "s", "") is row
    j.close()


async def test_a_restart_loads_no_row_that_is_over(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    await closed(j, "a")
    j.close()
    j = opened(tmp_path)
    assert (len(j.rows), len(j.archive)) == (0, 1)
    assert [r.event.id for r in j.of_root("a")] == ["a"]
    assert not j.rows
    assert j.stored_roots("a") == {"a"}
    assert j.find("a", "p", "s", "") is not None
    j.close()


async def test_a_damaged_row_that_left_is_unknown_once(tmp_path: Path, time: Clock) -> None:
    j = opened(tmp_path)
    await closed(j, "a")
    time.now += 61
    await rested(j)
    await j.storage.write(lambda db: db.execute("DELETE FROM event"))
    assert j.find("a", "p", "s", "") is None
    await j.commit()
    assert j.query("SELECT count(*) FROM row") == [(0,)]
    j.close()


def test_the_archive_is_a_dict_in_the_order_of_adding() -> None:
    archive, model, draw = Archive(), dict[Key, int](), Random(1)
    for _ in range(20_000):
        key = (str(draw.randrange(500)), "p", "s", "")
        what, n = draw.random(), draw.randrange(1, 1 << 40)
        if what < 0.5:
            assert archive.add(key, n) == (model.setdefault(key, n) == n)
        elif what < 0.8:
            archive.remove(key)
            model.pop(key, None)
        elif what < 0.81:
            oldest = list(model)[:7]
            assert archive.take_oldest(7) == [model.pop(k) for k in oldest]
        assert archive.find(key) == model.get(key, 0)
        assert len(archive) == len(model)
