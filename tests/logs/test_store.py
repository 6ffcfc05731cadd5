"""The store of logs: lines come back in order, within their bounds, after restarts and torn writes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.logs import LogLine, LogStore, Reader, ReadRequest, files
from agent.logs import store as module
from agent.logs.files import append, execution_of, files_of, lines_of
from tests.logs.support import SIZE, on_disk, opened, read
from tests.support import eventually


async def test_lines_come_back_with_stream_event_and_execution(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    log.begin()
    log.line("first", "stderr", "e1")
    log.line("second", "agent")
    log.begin()
    log.line("third", "stdout", "e2")
    found = await read(store)
    assert [(x.n, x.stream, x.text, x.event) for x in found] == [
        (1, "stderr", "first", "e1"), (2, "agent", "second", ""), (3, "stdout", "third", "e2"),
    ]  # fmt: skip
    assert found[0].execution == found[1].execution != found[2].execution


async def test_executions_at_a_time_keep_their_lines(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    first, second = log.begin(), log.begin()
    first.line("one", event="e1")
    second.line("two", event="e2")
    log.line("of the step")
    await store.write()
    first.line("three", event="e1")
    for found in (await read(store), await read(opened(tmp_path))):
        assert [(x.n, x.text) for x in found] == [(1, "one"), (2, "two"), (3, "of the step"), (4, "three")][
            : len(found)
        ]
        executions = [x.execution for x in found]
        assert executions[0] != executions[1] == executions[2]
        assert executions[3:] == executions[:1][: len(found) - 3]


async def test_numbers_go_on_after_an_older_execution_wrote_last(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    first, second = log.begin(), log.begin()
    for number in range(500):
        (second if number == 250 else first).line(f"line {number} " + "x" * 1000)
    await store.write()
    again = opened(tmp_path)
    again.of("p", "v", "s").line("after")
    assert [x.n for x in await read(again)] == list(range(1, 502))


async def test_line_written_while_a_reader_reads_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    logs = sorted((store.of("p", "v", "s").begin() for _ in range(2)), key=lambda log: log.execution)  # type: ignore[attr-defined]
    for log in logs:
        log.line("before")
    await store.write()
    monkeypatch.setattr(module, "RECENT", 0)

    def meanwhile(path: Path, step: str) -> list[LogLine]:
        found = list(lines_of(path, step))
        if execution_of(path) == logs[0].execution:  # type: ignore[attr-defined]
            for log in logs:
                log.line("meanwhile")
            store._write(store._taken(), set())
        return found

    monkeypatch.setattr(files, "lines_of", meanwhile)
    found = await Reader(opened(tmp_path)).read(ReadRequest("p", "s"))
    assert [x.n for x in found.lines] == [1, 2]
    monkeypatch.undo()
    after = await Reader(opened(tmp_path)).read(ReadRequest("p", "s", found.next))
    assert [x.n for x in after.lines] == [3, 4]


async def test_an_execution_that_goes_on_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXECUTIONS", 2)

    def stored() -> list[str]:
        return [x.text for path in files_of(tmp_path / "p" / "s") for x in lines_of(path, "s")]

    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    long = log.begin()
    long.line("long")
    for n in range(4):
        log.begin().line(f"short {n}")
        await store.write()
    assert stored() == ["long", "short 2", "short 3"]
    del long
    log.begin().line("short 4")
    await store.write()
    assert stored() == ["short 3", "short 4"]


async def test_lines_survive_a_restart_and_go_on_with_their_numbers(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.of("p", "v", "s").line("before")
    await store.write()
    again = opened(tmp_path)
    again.of("p", "v", "s").line("after")
    assert [(x.n, x.text) for x in await read(again)] == [(1, "before"), (2, "after")]


async def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for text in ("whole", "torn"):
        store.of("p", "v", "s").line(text)
    await store.write()
    (path,) = files_of(tmp_path / "p" / "s")
    path.write_bytes(path.read_bytes()[:-5])
    again = opened(tmp_path)
    assert [x.text for x in await read(again)] == ["whole"]
    again.of("p", "v", "s").line("next")
    assert [(x.n, x.text) for x in await read(again)] == [(1, "whole"), (2, "next")]


async def test_files_and_folders_are_private(tmp_path: Path) -> None:
    store = opened(tmp_path / "logs")
    store.of("p", "v", "s").line("secret")
    await store.write()
    (path,) = files_of(tmp_path / "logs" / "p" / "s")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.stat().st_mode & 0o777 for p in path.parents[:3]] == [0o700] * 3


async def test_a_write_cut_off_by_a_full_disk_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        append(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    store = opened(tmp_path)
    store.of("p", "v", "s").line("whole")
    await store.write()
    monkeypatch.setattr(module, "append", full)
    store.of("p", "v", "s").line("half")
    await store.write()
    assert store.bytes == on_disk(tmp_path)


async def test_a_line_after_a_torn_line_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        if torn:
            raise OSError(28, "No space left on device")
        torn.append(real(fd, data[:20]))
        return torn[0]

    real, torn = os.write, list[int]()
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    log.line("whole")
    await store.write()
    monkeypatch.setattr(files.os, "write", full)
    log.line("torn")
    await store.write()
    monkeypatch.setattr(files.os, "write", real)
    for text in ("next", "last"):
        log.line(text)
        await store.write()
    assert [(x.n, x.text) for x in await read(opened(tmp_path))] == [(1, "whole"), (3, "next"), (4, "last")]
    assert store.bytes == on_disk(tmp_path)


async def test_a_running_store_writes_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: Callable[[LogStore], None]
) -> None:
    monkeypatch.setattr(module, "WRITE_EVERY", 0.0)
    store = opened(tmp_path)
    running(store)
    for n in range(3):
        store.of("p", "v", "s").line(f"line {n}")
        await eventually(lambda n=n: f"line {n}" in "".join(p.read_text() for p in files_of(tmp_path / "p" / "s")))


async def test_each_line_is_heard(tmp_path: Path) -> None:
    heard: list[tuple[str, str, str]] = []
    store = LogStore(tmp_path, SIZE, hear=lambda *line: heard.append(line))
    store.of("p", "v", "s").line("a line")
    assert heard == [("p", "s", "a line")]


async def test_an_execution_of_a_removed_pipeline_goes_on_counting(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = store.of("p", "v", "s").begin()
    log.line("old")
    await store.write()
    store.forget(set())
    log.line("new")
    store.of("p", "v", "s").begin().line("newest")
    await store.write()
    assert [(x.n, x.text) for x in await read(opened(tmp_path))] == [(2, "new"), (3, "newest")]


async def test_a_line_that_is_no_text_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.of("p", "v", "s").line("half \ud83d of a pair")
    await store.write()
    for again in (store, opened(tmp_path)):
        assert [x.text for x in await read(again)] == ["half ? of a pair"]


async def test_a_step_of_a_removed_pipeline_begins_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.of("p", "v", "s").line("old")
    await store.write()
    store.forget(set())
    store.of("p", "v", "s").line("new")
    assert [(x.n, x.text) for x in await read(store)] == [(1, "new")]


async def test_a_write_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slow(path: Path, data: bytes) -> int:
        assert go.wait(10)
        return append(path, data)

    monkeypatch.setattr(module, "append", slow)
    store = opened(tmp_path)
    store.of("p", "v", "s").line("x")
    first, second = asyncio.create_task(store.write()), asyncio.create_task(store.write())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    go.set()
    await asyncio.gather(first, second)
    assert store.bytes == on_disk(tmp_path) > 0


async def test_a_disk_that_fails_loses_lines_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    store = opened(tmp_path / "logs")
    log = store.of("p", "v", "s")
    for _ in range(3):
        log.line("x")
        await store.write()
    assert store.lost == 3
    assert caplog.text.count("log lines of steps are lost") == 1
    (tmp_path / "logs").unlink()
    log.line("y")
    await store.write()
    assert [x.text for x in await read(opened(tmp_path / "logs"))] == ["y"]


async def test_logs_of_removed_pipelines_are_deleted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for pipeline in ("p", "q"):
        store.of(pipeline, "v", "s").line("x")
    await store.write()
    again = opened(tmp_path)
    again.forget({"q"})
    assert [p.name for p in tmp_path.iterdir()] == ["q"]


async def test_waiting_lines_are_written_at_the_end(tmp_path: Path) -> None:
    store = opened(tmp_path)
    running = asyncio.create_task(store.run())
    await asyncio.sleep(0)
    store.of("p", "v", "s").line("last")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [x.text for x in await read(opened(tmp_path))] == ["last"]


Step = Callable[[LogStore], Awaitable[LogStore]]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["line", "line", "line", "begin", "write", "restart", "read"]), max_size=60))
def test_a_reader_sees_every_line_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    async def walk() -> None:
        folder = tmp_path_factory.mktemp("logs")
        store, said, seen, after = opened(folder), list[str](), list[str](), dict[str, int]()
        for step in [*steps, "read"]:
            if step == "line":
                said.append(f"line {len(said)}")
                store.of("p", "v", "s").line(said[-1])
            elif step == "begin":
                store.of("p", "v", "s").begin()
            elif step == "write":
                await store.write()
            elif step == "restart":
                await store.write()
                store = opened(folder)
            else:
                found = await Reader(store).read(ReadRequest("p", "s", after))
                seen += [line.text for line in found.lines]
                assert [line.n for line in found.lines] == [after.get("s", 0) + n + 1 for n in range(len(found.lines))]
                after = found.next
        assert seen == said

    asyncio.run(walk())
