"""Reading logs: the newest lines, waiting for the next, limits on what a peer may ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.errors import Refused
from agent.logs import LogLine, LogLines, LogStore, Reader, ReadRequest, files, reading
from agent.logs import store as module
from agent.logs.files import append, encoded
from agent.logs.wire import MAX_ANSWER, MAX_LINES

OPERATOR: Any = SimpleNamespace(id="h1", name="hall", is_operator=True)
ANOTHER: Any = SimpleNamespace(id="o2", name="office", is_operator=True)


@pytest.fixture
def store(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path, 64 << 20)


def fill(store: LogStore, step: str, *texts: str) -> None:
    for text in texts:
        store.of("p", "v", step).line(text)


async def test_tail_gives_the_newest_lines_of_all_steps_by_time(store: LogStore) -> None:
    for n in range(5):
        fill(store, f"s{n % 2}", f"line {n}")
        await asyncio.sleep(0.002)  # lines are ordered by their time in milliseconds
    found = await Reader(store).read(ReadRequest("p", tail=3))
    assert [line.text for line in found.lines] == ["line 2", "line 3", "line 4"]
    assert found.next == {"s0": 3, "s1": 2}


async def test_since_leaves_older_lines_out(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "now", lambda: "2020-01-01T00:00:00.000Z")
    fill(store, "s", "old")
    monkeypatch.undo()
    fill(store, "s", "new")
    found = await Reader(store).read(ReadRequest("p", "s", since=3600))
    assert [line.text for line in found.lines] == ["new"]


async def test_a_waiting_reader_gets_the_next_line_at_once(store: LogStore) -> None:
    fill(store, "s", "first")
    waiting = asyncio.create_task(Reader(store).read(ReadRequest("p", "s", {"s": 1}, wait=20.0)))
    while not store._waiting:
        await asyncio.sleep(0)
    fill(store, "other", "not this step")
    fill(store, "s", "second")
    found = await asyncio.wait_for(waiting, 5)
    assert [line.text for line in found.lines] == ["second"]
    assert not store._waiting


async def test_numbers_show_that_lines_are_gone(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 3)
    monkeypatch.setattr(module, "PENDING", 0)
    fill(store, "s", *(f"line {n}" for n in range(10)))
    found = await Reader(store).read(ReadRequest("p", "s", {"s": 2}))
    assert ([line.n for line in found.lines], found.next) == ([8, 9, 10], {"s": 10})


async def test_a_reader_ahead_of_a_new_log_begins_again(store: LogStore) -> None:
    fill(store, "s", "first of the new log")
    found = await Reader(store).read(ReadRequest("p", "s", {"s": 1000}))
    assert ([line.text for line in found.lines], found.next) == (["first of the new log"], {"s": 1})


async def test_an_answer_is_bounded_and_goes_on_where_it_ended(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        fill(store, "s", *("x" * 4000 for _ in range(100)))
        await store.write()
    reader, after, count = Reader(store), dict[str, int](), 0
    while count < 400:
        found = await reader.read(ReadRequest("p", "s", after))
        assert 0 < sum(len(line.text) for line in found.lines) <= MAX_ANSWER
        assert [line.n for line in found.lines] == list(range(count + 1, count + 1 + len(found.lines)))
        count, after = count + len(found.lines), found.next
    assert count == 400


async def test_a_member_is_refused(store: LogStore) -> None:
    member: Any = SimpleNamespace(name="porch", is_operator=False)
    with pytest.raises(Refused, match="porch is not an operator") as refused:
        await Reader(store).serve(member, msgspec.msgpack.encode(ReadRequest("p")))
    assert refused.value.code == "not-operator"


@pytest.mark.parametrize(
    "request_",
    [
        ReadRequest("../etc"),
        ReadRequest("p", "../s"),
        ReadRequest("p", "s", {"..": 1}),
        ReadRequest("p", "s", {f"s{n}": 1 for n in range(65)}),
        ReadRequest("p", "s", tail=-1),
        ReadRequest("p", "s", tail=MAX_LINES + 1),
        ReadRequest("p", "s", since=float("nan")),
        ReadRequest("p", "s", wait=-1.0),
    ],
)
async def test_a_strange_request_is_refused(store: LogStore, request_: ReadRequest) -> None:
    with pytest.raises(Refused) as refused:
        await Reader(store).serve(OPERATOR, msgspec.msgpack.encode(request_))
    assert refused.value.code == "bad"


async def test_garbage_is_refused(store: LogStore) -> None:
    with pytest.raises(Refused):
        await Reader(store).serve(OPERATOR, b"garbage")


async def test_an_unknown_step_has_no_lines_and_takes_no_memory(store: LogStore) -> None:
    answer = await Reader(store).serve(OPERATOR, msgspec.msgpack.encode(ReadRequest("nothing", "here")))
    assert msgspec.msgpack.decode(answer, type=LogLines).lines == []
    assert not store._steps


async def waiting(reader: Reader, peer: Any) -> asyncio.Task[bytes]:
    """A request that waits for a line."""
    before = list(reader._waiting.get(peer.id, ()))
    task = asyncio.create_task(reader.serve(peer, msgspec.msgpack.encode(ReadRequest("p", wait=20.0))))
    while reader._waiting.get(peer.id, []) == before:
        await asyncio.sleep(0)
    return task


async def test_one_more_request_ends_the_oldest_wait_of_its_node(store: LogStore) -> None:
    reader = Reader(store)
    other = await waiting(reader, ANOTHER)
    mine = [await waiting(reader, OPERATOR) for _ in range(reading.AT_ONCE)]
    last = await waiting(reader, OPERATOR)
    async with asyncio.timeout(10):
        assert msgspec.msgpack.decode(await mine[0], type=LogLines).lines == []
    assert not any(task.done() for task in [other, *mine[1:], last])
    fill(store, "s", "for all")
    async with asyncio.timeout(10):
        answers = await asyncio.gather(other, *mine[1:], last)
    assert all(msgspec.msgpack.decode(a, type=LogLines).lines for a in answers)
    assert not reader._waiting


async def test_waits_end_when_their_time_is_over(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_WAIT", 0.01)
    async with asyncio.timeout(10):
        assert (await Reader(store).read(ReadRequest("p", wait=1e9))).lines == []


async def test_a_wait_goes_on_while_lines_are_too_old(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "now", lambda: "2020-01-01T00:00:00.000Z")
    asked = 0
    reader, real = Reader(store), Reader._now

    async def now(self: Reader, request: ReadRequest) -> LogLines:
        nonlocal asked
        asked += 1
        return await real(self, request)

    monkeypatch.setattr(Reader, "_now", now)
    task = asyncio.create_task(reader.read(ReadRequest("p", since=60, wait=20.0), "h1"))
    for n in range(2):
        while asked == n or "h1" not in reader._waiting:
            await asyncio.sleep(0)
        fill(store, "s", "too old")
    while asked < 3 or "h1" not in reader._waiting:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert asked == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- what an answer has no room for -----------------------------------------------------------------------------------


async def test_lines_without_room_come_with_the_next_answer(store: LogStore) -> None:
    fill(store, "a", *(f"a {n}" for n in range(2500)))
    await store.write()
    await asyncio.sleep(0.002)  # lines are ordered by their time in milliseconds
    fill(store, "b", *(f"b {n}" for n in range(5)))
    reader, got = Reader(store), list[str]()
    found = await reader.read(ReadRequest("p", since=3600))
    assert len(found.lines) == MAX_LINES
    while found.lines:
        got += [line.text for line in found.lines]
        found = await reader.read(ReadRequest("p", "", found.next))
    assert got == [*(f"a {n}" for n in range(2500)), *(f"b {n}" for n in range(5))]


async def test_lines_that_come_during_a_read_come_next(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, "a", "old")
    fill(store, "z", *(f"z {n}" for n in range(1100)))
    began, go, real = threading.Event(), threading.Event(), reading.newest

    def slow(*asked: Any) -> list[LogLine]:
        began.set()
        assert go.wait(10)
        return real(*asked)

    monkeypatch.setattr(reading, "newest", slow)
    reader = Reader(store)
    first = asyncio.create_task(reader.read(ReadRequest("p", tail=1500)))
    while not began.is_set():
        await asyncio.sleep(0)
    fill(store, "a", "new 1", "new 2")
    go.set()
    assert (await first).next == {"a": 1, "z": 1100}
    found = await reader.read(ReadRequest("p", "", (await first).next))
    assert [line.text for line in found.lines] == ["new 1", "new 2"]


async def test_steps_in_one_answer_are_limited(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_STEPS", 2)
    for step in "abc":
        fill(store, step, "x")
    assert (await Reader(store).read(ReadRequest("p"))).next == {"a": 1, "b": 1}


# -- files ------------------------------------------------------------------------------------------------------------


def stored(folder: Path, numbers: dict[str, list[int]]) -> LogStore:
    """A store of another run: by the id of the execution the numbers of its lines."""
    for name, mine in numbers.items():
        path = folder / "p" / "s" / f"{mine[0]:012d}-{name}.log"
        lines = (LogLine("s", n, f"2030-01-01T00:00:00.{n:03}Z", "stderr", f"line {n}") for n in mine)
        append(path, b"".join(map(encoded, lines)))
    return LogStore(folder, 64 << 20)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The executions whose files were read, and a dot for each line that was decoded."""
    found: list[str] = []

    def lines_of(path: Path, step: str) -> Iterator[LogLine]:
        found.append(path.name[13:-4])
        for line in files_lines_of(path, step):
            found.append(".")
            yield line

    files_lines_of = files.lines_of
    monkeypatch.setattr(files, "lines_of", lines_of)
    return found


OVERLAP = {"a": [1, 3, 5, 7], "b": [2, 4], "c": [6, 8]}


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3, 4, 5, 6, 7, 8]), (4, [5, 6, 7, 8]), (8, [])])
async def test_overlapping_executions_are_read_by_number(tmp_path: Path, after: int, expected: list[int]) -> None:
    found = await Reader(stored(tmp_path, OVERLAP)).read(ReadRequest("p", "s", {"s": after}))
    assert ([line.n for line in found.lines], found.next) == (expected, {"s": 8})


@pytest.mark.parametrize("tail", range(1, 10))
async def test_the_newest_lines_of_overlapping_executions(tmp_path: Path, tail: int) -> None:
    found = await Reader(stored(tmp_path, OVERLAP)).read(ReadRequest("p", "s", tail=tail))
    assert [line.n for line in found.lines] == list(range(1, 9))[-tail:]


def test_the_newest_number_may_be_in_an_older_file(tmp_path: Path) -> None:
    assert stored(tmp_path, {"a": [1, 9], "b": [2, 3]}).last("p", "s") == 9


async def test_the_newest_lines_need_no_older_files(tmp_path: Path, opened: list[str]) -> None:
    store = stored(tmp_path, {"a": [1, 2, 3], "b": [4, 5], "c": [6, 7]})
    await Reader(store).read(ReadRequest("p", "s", tail=2))
    assert opened == ["c", ".", "."]


async def test_lines_in_memory_need_no_files(tmp_path: Path, opened: list[str]) -> None:
    store = stored(tmp_path, {"a": [1, 2, 3]})
    fill(store, "s", "new")
    found = await Reader(store).read(ReadRequest("p", "s", tail=1))
    assert ([line.text for line in found.lines], opened) == (["new"], [])


async def test_a_follower_reads_no_older_and_no_further_files(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINES", 2)
    store = stored(tmp_path, {"a": [1, 2, 3], "b": [4, 5, 6, 7, 8, 9], "c": [10, 11]})
    found = await Reader(store).read(ReadRequest("p", "s", {"s": 4}))
    assert ([line.n for line in found.lines], found.next) == ([5, 6], {"s": 6})
    assert opened == ["b", ".", ".", ".", "."]


async def test_files_older_than_a_time_are_not_read(tmp_path: Path, opened: list[str]) -> None:
    store = stored(tmp_path, {"a": [1, 2], "b": [3, 4], "c": [5, 6]})
    found = files.newest(tmp_path / "p" / "s", "s", 7, 100, "2030-01-01T00:00:00.006Z")
    assert [line.n for line in found] == [6]
    assert opened == ["c", ".", ".", "b", ".", "."]
    assert store.last("p", "s") == 6


async def test_one_request_at_a_time_reads_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = stored(tmp_path, {"a": [1, 2]}), reading.newest
    lock, counts = threading.Lock(), list[int]()
    now = 0

    def counted(*asked: Any) -> list[LogLine]:
        nonlocal now
        with lock:
            now += 1
            counts.append(now)
        made = real(*asked)
        with lock:
            now -= 1
        return made

    monkeypatch.setattr(reading, "newest", counted)
    reader = Reader(store)
    await asyncio.gather(*(reader.read(ReadRequest("p", "s", tail=1)) for _ in range(20)))
    assert counts == [1] * 20


async def test_lines_that_wait_for_the_disk_are_read(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 3)
    fill(store, "s", *(f"line {n}" for n in range(10)))
    assert len((await Reader(store).read(ReadRequest("p", "s"))).lines) == 10
