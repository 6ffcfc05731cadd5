"""The journal: what was accepted outlives every restart and crash, and the counters add up at any time."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import clock
from agent.clock import boottime
from agent.definitions.store import Definitions
from agent.delivery import Journal, journal
from agent.delivery.rows import ENDS, Row, State
from agent.delivery.table import KeptPhotos
from agent.errors import EdgeError
from agent.model.alert import Hop
from agent.steps import KINDS
from tests.delivery.driver import Driven, every_row
from tests.delivery.events import event
from tests.support import eventually

DATA = Path(__file__).parent / "data"
DEEP = f'"data":{{"x":{"[" * 900}{"]" * 900}}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def opened(path: Path, **options: Any) -> Driven:
    made = Driven(path, **options)
    made.open()
    return made


def row(j: Driven, ident: str, step: str = "s", **fields: Any) -> Row:
    blobs, root = fields.pop("blobs", []), fields.pop("root", "")
    data = {"blobs": [{"name": c, "cid": c} for c in blobs]} if blobs else {}
    made = {"deadline": boottime() + 60, "root_at": boottime(), **fields}
    return j.new(event(ident, data=data, root=root), "p", "v1", step, **made)


def content(j: Journal) -> dict[int, tuple[Any, ...]]:
    """Everything of each row that a restart must give back."""
    return {
        r.n: (
            r.key, r.version, r.parent, r.state, r.end, r.reason, r.target, r.attempts, r.avoid, r.deadline, r.root_at,
            r.matched, r.closed, r.claims, r.decided, [(h.step, h.node, h.at_ms) for h in r.trace], r.event.encode(),
        )
        for r in every_row(j)
    }  # fmt: skip


def sums_hold(j: Journal) -> bool:
    return all(
        c["accepted"] == c["open"] + sum(c[e] for e in ENDS) and min(c.values()) >= 0 for c in j.totals().values()
    ) and j.open_count == len(j.open_rows())


# -- restarts ---------------------------------------------------------------------------------------------------------


async def test_a_restart_gives_back_every_field(path: Path) -> None:
    j = opened(path)
    parent = row(j, "a", blobs=["cid1"])
    child = row(
        j, "b", "next", root="a", parent=parent.n, slot="porch", target="porch", state=State.SENDING, attempts=2,
        avoid=["x", "y"], trace=[Hop("line", "ap", 1.5)], decided=True,
    )  # fmt: skip
    other = row(j, "c", claims={"gpu": 1}, matched=True)
    await j.commit(add=[parent, child, other], position=("stream", {"offset": 7}))
    await j.commit(end=[(other, "failed", "it broke")])
    before, totals = content(j), j.totals()
    j.close()
    j = opened(path)
    assert content(j) == before
    assert j.totals() == totals
    assert j.positions == {"stream": {"offset": 7}}
    assert [r.n for r in j.children[parent.n]] == [child.n]
    assert j.needs("cid1")
    assert j.delivered_open == Counter()
    assert j.new(event("d"), "p", "v1", "s").n > other.n
    j.close()


async def test_what_was_not_committed_is_not_there(path: Path) -> None:
    j = opened(path)
    j.new(event("a"), "p", "v1", "s")
    await j.commit()
    j.close()
    j = opened(path)
    assert not j.rows
    j.close()


async def test_a_reason_is_cut_and_a_second_end_changes_nothing(path: Path) -> None:
    j = opened(path)
    r = row(j, "a")
    await j.commit(add=[r])
    await j.commit(end=[(r, "failed", "x" * 10_000)])
    await j.commit(end=[(r, "delivered", "")])
    assert not j._life().ended(r, "delivered").written
    assert (r.end, len(r.reason)) == ("failed", 500)
    assert j.totals()["p", "s"] | {"accepted": 1, "failed": 1, "delivered": 0, "open": 0} == j.totals()["p", "s"]
    j.close()


async def test_delivered_rows_count_for_their_step_until_they_end(path: Path) -> None:
    j = opened(path)
    r, mine = row(j, "a", claims={"ap": 0}), row(j, "b")
    await j.commit(add=[r, mine])
    assert j.delivered_open == {("p", "s"): 1}
    j.close()
    j = opened(path)
    assert j.delivered_open == {("p", "s"): 1}
    again = j.find("a", "p", "s", "")
    assert again is not None
    await j.commit(end=[(again, "delivered", "")])
    assert j.delivered_open["p", "s"] == 0
    assert j.room() == j.max_open - 1
    j.close()


async def test_photos_are_kept_for_as_long_as_their_row_was_closed_for(path: Path) -> None:
    j = opened(path)
    matched, plain = row(j, "a", blobs=["m"]), row(j, "b", blobs=["u"])
    await j.commit(add=[matched, plain])
    await j.commit(end=[(matched, "delivered", ""), (plain, "skipped", "when")])
    assert j.needs("m")
    assert j.needs("u")
    await j.close_row(matched, keep=100)
    await j.close_row(plain, keep=0)
    for _ in range(2):
        assert (j.needs("m"), KeptPhotos(j).needs("m")) == (False, True)
        assert (j.needs("u"), KeptPhotos(j).needs("u")) == (False, False)
        j.close()
        j = opened(path)
    j.forget_kept(["m"])
    j.close()
    j = opened(path)
    assert not KeptPhotos(j).needs("m")
    j.close()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_closed_row_needs_its_photo_until_that_is_on_the_disk(path: Path, cancelled: bool) -> None:
    j, disk = opened(path), threading.Event()
    r = row(j, "a", blobs=["photo"])
    await j.commit(add=[r])
    await j.commit(end=[(r, "delivered", "")])
    j.storage.write(lambda db: disk.wait(10))
    closed = j.close_row(r, keep=0)
    assert r.closed
    assert j.needs("photo")
    if cancelled:
        closed.cancel()  # as when the caller is cancelled; the write goes on
    disk.set()
    await eventually(lambda: not j.needs("photo"))
    assert not j.closing
    j.close()


async def test_a_row_closed_twice_needs_its_photo_until_the_second(path: Path) -> None:
    j, begin, between, disk = opened(path), threading.Event(), threading.Event(), threading.Event()
    r = row(j, "a", blobs=["photo"])
    await j.commit(add=[r])
    await j.commit(end=[(r, "failed", "")])
    await j.close_row(r, keep=0)
    j.reopen(r)
    assert j.needs("photo")
    await j.commit(end=[(r, "delivered", "")])
    j.storage.write(lambda db: begin.wait(10))
    await eventually(j.storage._queue.empty)
    first = j.close_row(r, keep=0)
    j.storage.write(lambda db: between.wait(10))  # the first closing and this are one transaction, the rest is the next
    begin.set()
    await eventually(j.storage._queue.empty)
    j.storage.write(lambda db: disk.wait(10))
    j.reopen(r)
    j.commit(end=[(r, "delivered", "")])
    j.close_row(r, keep=0)
    between.set()
    await first
    assert j.needs("photo")
    disk.set()
    await eventually(lambda: not j.needs("photo"))
    j.close()


async def test_a_row_whose_closing_cannot_be_written_keeps_its_photo(path: Path) -> None:
    j = opened(path)
    r = row(j, "a", blobs=["photo"])
    await j.commit(add=[r])
    await j.commit(end=[(r, "delivered", "")])
    j.storage.write(lambda db: db.execute("INSERT INTO nothing VALUES (1)"))
    with pytest.raises(EdgeError):
        await j.close_row(r, keep=0)
    assert j.needs("photo")
    j.close()


async def test_other_threads_may_ask_while_rows_come_and_go(path: Path) -> None:
    """The blob store asks from its threads; all these rows are closed, so that it looks at each of them."""
    j, errors, done = opened(path, keep_rows=500), [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                assert not j.needs("photo")
            except (AssertionError, LookupError, RuntimeError) as e:
                errors.append(e)

    thread, before = threading.Thread(target=ask), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for i in range(5000):
            j.insert(row(j, f"e{i}", blobs=["photo"], state=State.ENDED, end="delivered", closed=True))
            j.purge()
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)
    assert errors == []
    j.close()


_ops = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "add",
                "child",
                "ended",
                "change",
                "end",
                "end twice",
                "close",
                "reopen",
                "restart",
                "many",
                "rest",
                "recall",
            ]
        ),
        st.integers(0, 1000),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(_ops)
def test_any_history_adds_up_and_survives_restarts(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal.db"
    asyncio.run(_history(path, ops))


async def _history(path: Path, ops: list[tuple[str, int]]) -> None:
    j = opened(path, rest=0.0)
    made = 0
    for op, n in ops:
        rows = sorted(j.rows.values(), key=lambda r: r.n)
        some = rows[n % len(rows)] if rows else None
        if op in ("add", "ended", "many") or some is None:
            new = [
                row(j, f"e{made + i}", f"s{n % 3}", claims={"ap": 0} if n % 2 else {})
                for i in range(5 if op == "many" else 1)
            ]
            made += len(new)
            if op == "ended":
                new[0] = row(j, new[0].event.id, f"s{n % 3}", state=State.ENDED, end=ENDS[n % 7], reason="when")
            j.commit(add=new)
        elif op == "child":
            j.commit(add=[row(j, f"e{made}", f"s{n % 3}", parent=some.n)], change=[some])
            made += 1
        elif op == "change" and some.open:
            j.change(some, State(n % 5))
        elif op.startswith("end"):
            for _ in range(2 if "twice" in op else 1):
                j.commit(end=[(some, ENDS[n % 7], "why")])
        elif op == "close" and not some.open and not some.closed:
            j.close_row(some, keep=float(n % 2))
        elif op == "reopen" and not some.open:
            j.reopen(some)
        elif op == "rest":
            j.rest()
            await j.commit()
        elif op == "recall":
            assert all(j.find(*r.key) is not None for r in every_row(j)[n % 5 :: 5])
        elif op == "restart":
            before, totals = content(j), j.totals()
            j.close()
            j = opened(path, rest=0.0)
            assert content(j) == before
            assert j.totals() == totals
        assert sums_hold(j), j.totals()
    before = content(j)
    j.close()
    j = opened(path, rest=0.0)
    assert content(j) == before
    assert sums_hold(j)
    j.close()


# -- crashes ----------------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from agent.model.event import Event
from tests.delivery.driver import Driven, every_row

async def main():
    j = Driven(Path(sys.argv[1]))
    j.open()
    n = 0
    rows = []
    while True:
        made = [j.new(Event(id=f"e{n + i}", source="/a/p/s", type="t", time="x"), "p", "v", "s") for i in range(3)]
        n += 3
        rows += made
        ends = [(rows.pop(0), "delivered", "") for _ in range(2)]
        await j.commit(add=made, end=ends, position=("log", n))
        print(n, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 40])
async def test_a_kill_at_any_time_loses_nothing_that_was_acknowledged(path: Path, after: int) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    for _ in range(after):
        acknowledged = int(await child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    more = (await child.stdout.read()).decode().rpartition("\n")[0].split()
    await child.wait()
    acknowledged = max(acknowledged, *map(int, more)) if more else acknowledged
    j = opened(path)
    assert len(j.rows) >= acknowledged
    assert j.positions["log"] == len(j.rows)  # the position and the rows of its batch are one transaction
    assert {r.event.id for r in j.rows.values()} == {f"e{i}" for i in range(len(j.rows))}
    assert sums_hold(j)
    j.close()


async def test_the_files_as_they_lie_there_at_any_moment_can_be_opened(path: Path, tmp_path: Path) -> None:
    j = opened(path)
    for i in range(12):
        made = [row(j, f"e{i}-{k}") for k in range(20)]
        await j.commit(add=made, position=("log", i))
        ended = j.commit(end=[(r, "delivered", "") for r in made[: i + 1]])
        await ended  # the writer is idle: the copy is what a power cut would leave
        copy = tmp_path / f"copy{i}" / "journal.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        again = opened(copy)
        assert content(again) == content(j)
        assert sums_hold(again)
        again.close()
    j.close()


async def test_a_torn_log_costs_only_unacknowledged_rows(path: Path, tmp_path: Path) -> None:
    j = opened(path)
    await j.commit(add=[row(j, "a")])
    size = Path(f"{path}-wal").stat().st_size
    await j.commit(add=[row(j, "b")])
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    torn = Path(f"{copy}-wal")
    shutil.copy(f"{path}-wal", torn)
    os.truncate(torn, size + 100)
    j.close()
    again = opened(copy)
    assert [r.event.id for r in again.rows.values()] == ["a"]
    assert sums_hold(again)
    again.close()


# -- clocks -----------------------------------------------------------------------------------------------------------


class Clock:
    """A machine's clocks: `boot` names its boot, `up` counts from its start, `wall` is what it takes the time to be."""

    def __init__(self) -> None:
        self.boot, self.up, self.wall = "boot-1", 1000.0, 2_000_000.0

    def pass_(self, seconds: float) -> None:
        self.up += seconds
        self.wall += seconds

    def reboot(self, off: float, *, wall: float | None = None, boot: str = "boot-2") -> None:
        self.boot, self.up = boot, 20.0
        self.wall = self.wall + off if wall is None else wall


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    c = Clock()
    for module in (clock, journal):
        monkeypatch.setattr(module, "boot_id", lambda: c.boot)
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: c.wall))
    with clock.replaced_by(lambda: c.up):
        yield c
    monkeypatch.undo()


async def left_after(path: Path, machine: Clock) -> float:
    j = opened(path)
    (r,) = j.rows.values()
    left = r.deadline - machine.up
    j.close()
    return left


async def committed(path: Path, machine: Clock, deadline: float) -> None:
    j = opened(path)
    machine.pass_(5000)
    await j.commit(add=[row(j, "a", deadline=machine.up + deadline, root_at=machine.up)])
    j.close()


async def test_a_restart_without_a_reboot_leaves_deadlines_alone(path: Path, machine: Clock) -> None:
    await committed(path, machine, 100)
    machine.pass_(30)
    assert await left_after(path, machine) == 70


async def test_after_a_reboot_the_time_off_counts(path: Path, machine: Clock) -> None:
    await committed(path, machine, 100)
    machine.reboot(30)
    assert await left_after(path, machine) == pytest.approx(70)


async def test_a_shift_is_made_once_even_if_the_agent_dies_then(path: Path, machine: Clock) -> None:
    await committed(path, machine, 100)
    machine.reboot(30)
    j = Journal(path)
    db = j.storage.open()
    j._shift(db)  # the agent dies here: the writer never started
    db.close()
    machine.pass_(10)
    assert await left_after(path, machine) == pytest.approx(60)


async def test_without_a_clock_a_deadline_grows_by_30_s_at_most(path: Path, machine: Clock) -> None:
    await committed(path, machine, 15)
    machine.reboot(0, wall=1_000.0)  # 1970
    assert 15 <= await left_after(path, machine) <= 15 + journal.STAMP_EVERY


async def test_what_is_kept_and_decided_is_shifted_too(path: Path, machine: Clock) -> None:
    j = opened(path)
    r = row(j, "a", blobs=["m"])
    await j.commit(add=[r])
    await j.commit(end=[(r, "delivered", "")])
    await j.close_row(r, keep=500)
    sql = "INSERT INTO decision VALUES ('s', 'k', 'f', ?, ?, 0, '{}')"
    await j.storage.write(lambda db: db.execute(sql, (machine.up, machine.up + 500)))
    j.close()
    machine.reboot(100)
    j = opened(path)
    assert j.kept["m"] - machine.up == pytest.approx(400)
    assert j.query("SELECT until FROM decision")[0][0] - machine.up == pytest.approx(400)
    j.close()


async def test_the_clocks_are_noted_though_no_file_can_be_opened(path: Path) -> None:
    j = opened(path)
    await j.commit()
    j._stamped = 0.0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await j.commit(add=[row(j, "a")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert j.storage.failed is None
    j.close()


# -- files ------------------------------------------------------------------------------------------------------------


async def test_the_file_is_the_owner_s_alone(path: Path) -> None:
    j = opened(path)
    await j.commit(add=[row(j, "a")])
    assert all(p.stat().st_mode & 0o077 == 0 for p in path.parent.iterdir())
    j.close()


async def test_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    j = opened(path)
    await j.commit(add=[row(j, "a")])
    j.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=2")
    db.close()
    before = path.read_bytes()
    with pytest.raises(EdgeError, match="format 2, this one reads 1") as caught:
        opened(path)
    assert caught.value.code == "journal.version"
    assert "newer agent" in caught.value.hint
    assert path.read_bytes() == before


async def test_a_file_that_is_no_journal_is_refused_with_a_way_out(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read" * 100)
    with pytest.raises(EdgeError) as caught:
        opened(path)
    assert caught.value.code == "journal.open"
    assert "moved away" in caught.value.hint


@pytest.mark.parametrize("table", ["meta", "event", "row", "count", "position", "kept", "definition", "decision"])
async def test_a_damaged_page_is_refused_with_a_way_out(path: Path, table: str) -> None:
    j = opened(path)
    await j.commit(add=[row(j, "a")])
    ((page,),) = j.query("SELECT rootpage FROM sqlite_master WHERE name = ?", table)
    j.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(EdgeError) as caught:
        j = opened(path)
        j.query(f"SELECT * FROM {table}")
    assert caught.value.code == "journal.open"
    assert "moved away" in caught.value.hint
    j.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event WHERE id = 'a'",
        "UPDATE event SET body = x'7bff' WHERE id = 'a'",
        f"UPDATE event SET body = CAST(replace(body, '\"type\"', '{DEEP},\"type\"') AS BLOB) WHERE id = 'a'",
        "UPDATE row SET state = 99 WHERE event = 'a'",
        "UPDATE row SET trace = x'c1' WHERE event = 'a'",
    ],
)
async def test_unreadable_rows_are_lost_once_and_others_go_on(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    j = opened(path)
    bad, ended, good = row(j, "a"), row(j, "a", "t"), row(j, "b")
    await j.commit(add=[good, bad, ended])
    await j.commit(end=[(ended, "failed", "")])
    await j.storage.write(lambda db: db.execute(damage))
    j.close()
    j = opened(path)
    assert [r.event.id for r in j.rows.values()] == ["b"]
    assert j.totals()["p", "s"] | {"accepted": 2, "lost": 1, "open": 1} == j.totals()["p", "s"]
    assert sums_hold(j)
    assert row(j, "c").n > max(good.n, bad.n, ended.n)
    assert "2 rows of the journal cannot be read; 1 were open" in caplog.text
    caplog.clear()
    j.close()
    j = opened(path)
    assert sums_hold(j)
    assert not caplog.records
    j.close()


async def test_a_folder_that_cannot_be_made_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError) as caught:
        opened(tmp_path / "file" / "journal.db")
    assert caught.value.code == "journal.open"


async def test_a_journal_of_the_first_format_opens(path: Path) -> None:
    """data/journal-v1.sql was dumped by the first version of the agent and never changes."""
    db = sqlite3.connect(path)
    db.executescript((DATA / "journal-v1.sql").read_text())
    db.close()
    j = opened(path)
    rows = every_row(j)
    assert [(r.event.id, r.step, r.slot, r.state, r.end, r.closed) for r in rows] == [
        ("root", "arrived", "", State.ENDED, "delivered", True),
        ("child", "photos", "porch", State.PLACED, None, False),
        ("other", "labels", "", State.QUEUED, None, False),
    ]
    assert rows[1].avoid == ("garage",)
    assert [h.step for h in rows[1].trace] == ["line", "wifi"]
    assert rows[2].claims == {"ap": 0}
    assert [b.cid for b in rows[2].event.blobs()] == ["bafy1"]
    assert j.positions == {"p/wifi/auto": {"offset": 42}}
    assert list(j.kept) == ["bafy0"]
    assert sums_hold(j)
    definitions = Definitions(j.storage, KINDS, j.versions_in_use)
    definitions.load()
    assert [s.name for s in definitions.current["p"].steps] == ["wifi"]
    j.close()


# -- when it cannot be written ----------------------------------------------------------------------------------------


def full(db: sqlite3.Connection) -> None:
    """As on a full disk: no page more than there are."""
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")


async def test_on_a_full_disk_nothing_is_accepted_any_more(path: Path) -> None:
    j = opened(path)
    await j.commit(add=[row(j, "a")])
    await j.storage.write(lambda db: None)
    db_full = j.storage.write(lambda db: (db.execute("COMMIT"), full(db), db.execute("BEGIN")))
    await db_full
    big = j.new(event("big", data={"x": "y" * 200_000}), "p", "v1", "s")
    with pytest.raises(EdgeError) as caught:
        await j.commit(add=[big])
    assert caught.value.code == "journal.write"
    assert "full" in caught.value.message
    with pytest.raises(EdgeError, match="cannot be written"):
        await j.commit(add=[row(j, "b")])
    with pytest.raises(EdgeError, match="cannot be written"):
        await j.storage.failing()
    j.close()
    j = opened(path)
    assert [r.event.id for r in j.rows.values()] == ["a"]
    assert sums_hold(j)
    j.close()


async def test_all_that_were_in_the_failed_transaction_hear_of_it(path: Path) -> None:
    j = opened(path)

    def broken(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO nothing VALUES (1)")

    futures = [j.commit(add=[row(j, "a")]), j.storage.write(broken), j.commit(add=[row(j, "b")])]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(results[1], EdgeError)
    assert isinstance(results[2], EdgeError)
    j.close()
    j = opened(path)
    assert {r.event.id for r in j.rows.values()} == ({"a"} if results[0] is None else set())
    j.close()


async def test_a_value_too_large_for_the_file_breaks_it_loudly(path: Path) -> None:
    j = opened(path)
    with pytest.raises(EdgeError) as caught:
        await asyncio.wait_for(j.commit(add=[row(j, "a", attempts=2**70)]), 5)
    assert caught.value.code == "journal.write"
    j.close()


async def test_a_journal_gone_before_the_writer_starts_fails_writes(path: Path) -> None:
    j = Journal(path)
    j._read = j.storage.open()
    shutil.move(path.parent, path.parent.with_name("gone"))
    path.parent.write_text("")
    j.storage.start()
    await eventually(lambda: j.storage.failed is not None)
    with pytest.raises(EdgeError, match="cannot be written"):
        await j.storage.write(lambda db: None)
    j.close()
    path.parent.unlink()


# -- purging ----------------------------------------------------------------------------------------------------------


async def test_old_closed_rows_go_with_their_events_and_open_ones_stay(path: Path) -> None:
    j = opened(path, keep_rows=50)
    survivor = row(j, "open", blobs=["kept"])
    await j.commit(add=[survivor])
    for i in range(300):
        r = row(j, f"e{i}", blobs=[f"cid{i}"])
        j.commit(add=[r])
        j.commit(end=[(r, "delivered", "")])
        await j.close_row(r, keep=0)
    closed = [r for r in j.rows.values() if r.closed]
    assert 50 <= len(closed) <= 50 + 64
    assert min(r.n for r in closed) > 150
    assert j.find("open", "p", "s", "") is survivor
    assert len(j.by_cid) == len(j.rows) == len(j.by_n)
    await j.commit()
    assert j.query("SELECT count(*) FROM row")[0][0] == len(j.rows)
    assert j.query("SELECT count(*) FROM event WHERE id NOT IN (SELECT event FROM row)") == [(0,)]
    assert j.query("SELECT count(*) FROM event")[0][0] == len(j.rows)
    assert j.totals()["p", "s"]["delivered"] == 300
    before = content(j)
    j.close()
    j = opened(path, keep_rows=50)
    assert content(j) == before
    assert sums_hold(j)
    j.close()


# -- definitions ------------------------------------------------------------------------------------------------------


async def test_applied_pipelines_are_known_before_the_mesh(path: Path) -> None:
    import msgspec

    from tests.delivery.story import STORY
    from tests.support import load_pipeline

    j = opened(path)
    d = Definitions(j.storage, KINDS, j.versions_in_use)
    first = load_pipeline(STORY)
    d.apply(first.name, msgspec.json.encode(first))
    second = load_pipeline(STORY.replace("away: 30m", "away: 1h"))
    d.apply(first.name, msgspec.json.encode(second))
    with pytest.raises(msgspec.ValidationError, match="holds a pipeline named"):
        d.apply("another", msgspec.json.encode(first))
    with pytest.raises(msgspec.MsgspecError):
        d.apply(first.name, b"{")
    await j.commit()
    j.close()
    j = opened(path)
    d = Definitions(j.storage, KINDS, j.versions_in_use)
    d.load()
    assert d.current[first.name] == second
    assert d.get(first.name, first.version) == first
    assert [h["current"] for h in d.history(first.name)] == [True, False]
    d.apply(first.name, None)
    await j.commit()
    j.close()
    j = opened(path)
    d = Definitions(j.storage, KINDS, j.versions_in_use)
    d.load()
    assert not d.current
    assert d.get(first.name, second.version) == second  # events in flight end under it
    j.close()


async def test_only_so_many_versions_are_kept_besides_those_in_use(path: Path) -> None:
    import msgspec

    from tests.delivery.story import STORY
    from tests.support import load_pipeline

    j = opened(path)
    d = Definitions(j.storage, KINDS, j.versions_in_use)
    versions = [load_pipeline(STORY.replace("away: 30m", f"away: {i}m")) for i in range(1, 16)]
    used = versions[0]
    await j.commit(add=[j.new(event("a"), used.name, used.version, "arrived")])
    for p in versions:
        d.apply(p.name, msgspec.json.encode(p))
    kept = [p for p in versions if d.get(p.name, p.version)]
    assert kept == [used, *versions[-10:]]
    await j.commit()
    assert j.query("SELECT count(*) FROM definition") == [(11,)]
    j.close()
