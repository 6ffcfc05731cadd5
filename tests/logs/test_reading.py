"""Reading logs: the newest lines, waiting for the next, limits on what a peer may ask."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.errors import Refused
from agent.logs import LogLines, LogStore, Reader, ReadRequest, reading
from agent.logs import store as module
from agent.logs.wire import MAX_ANSWER, MAX_LINES

OPERATOR: Any = SimpleNamespace(name="hall", is_operator=True)


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


async def test_lines_that_are_gone_are_counted(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 3)
    monkeypatch.setattr(module, "PENDING", 0)
    fill(store, "s", *(f"line {n}" for n in range(10)))
    found = await Reader(store).read(ReadRequest("p", "s", {"s": 2}))
    assert ([line.n for line in found.lines], found.lost) == ([8, 9, 10], {"s": 5})


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


async def test_readers_at_a_time_are_limited(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 1)
    reader = Reader(store)
    first = asyncio.create_task(reader.serve(OPERATOR, msgspec.msgpack.encode(ReadRequest("p", wait=20.0))))
    while not store._waiting:
        await asyncio.sleep(0)
    with pytest.raises(Refused, match="too many readers"):
        await reader.serve(OPERATOR, msgspec.msgpack.encode(ReadRequest("p")))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await reader.serve(OPERATOR, msgspec.msgpack.encode(ReadRequest("p")))
