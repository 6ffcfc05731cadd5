"""The bounds of the store of logs, on the disk and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.logs import LogStore
from agent.logs import store as module
from agent.logs.files import append, files_of
from tests.logs.support import on_disk, opened, read
from tests.support import eventually


async def test_one_execution_loses_its_older_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXECUTION", 4000)
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    for n in range(200):
        log.line(f"line {n}")
        if n % 10 == 9:
            await store.write()
    stored = [x.n for x in await read(opened(tmp_path))]
    assert stored == list(range(stored[0], 201))
    assert 1 < stored[0] < 190
    assert sum(p.stat().st_size for p in files_of(tmp_path / "p" / "s")) <= 4000


async def test_lines_for_a_known_file_look_at_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    monkeypatch.setattr(module, "files_of", lambda folder: listed.append(folder) or files_of(folder))
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    for begins in (True, False, False, True, False):
        if begins:
            log.begin()
        log.line("x")
        await store.write()
        assert store.bytes == on_disk(tmp_path)
    assert len(listed) == 2


async def test_one_execution_that_goes_on_keeps_to_the_size(tmp_path: Path) -> None:
    store = opened(tmp_path, 5000)
    for n in range(30):
        store.of("p", "v", "s").line(f"{n}: " + "x" * 500)
        await store.write()
        assert store.bytes == on_disk(tmp_path) <= 5000


async def test_files_of_the_previous_run_count_from_the_first_line(tmp_path: Path) -> None:
    before = opened(tmp_path)
    for pipeline in ("p", "q"):
        before.of(pipeline, "v", "s").line("x" * 4000)
    await before.write()
    store = opened(tmp_path, 7000)
    store.of("r", "v", "s").line("y")
    await store.write()
    assert store.bytes == on_disk(tmp_path) <= 7000


async def test_logs_of_removed_pipelines_do_not_count(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for pipeline in ("p", "q"):
        store.of(pipeline, "v", "s").line("x")
    await store.write()
    store.forget({"q"})
    store.of("q", "v", "s").line("y")
    await store.write()
    assert store.bytes == on_disk(tmp_path)


async def test_a_file_that_is_gone_already_stops_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "files_of", lambda folder: [folder / "1-gone.log", *files_of(folder)])
    store = opened(tmp_path)
    store.of("p", "v", "s").line("x")
    await store.write()
    assert store.bytes == on_disk(tmp_path) > 0


async def test_files_that_cannot_be_deleted_stop_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    store = opened(tmp_path, 100)
    log = store.of("p", "v", "s")
    log.line("x" * 200)
    monkeypatch.setattr(module.Path, "unlink", unlink)
    await store.write()
    assert "cannot be deleted" in caplog.text
    assert [x.text for x in await read(store)] == ["x" * 200]


async def test_a_started_store_bounds_the_files_of_the_previous_run(
    tmp_path: Path, running: Callable[[LogStore], None]
) -> None:
    before = opened(tmp_path)
    for pipeline in ("p", "q"):
        before.of(pipeline, "v", "s").line("x" * 4000)
    await before.write()
    store, small = opened(tmp_path), opened(tmp_path, 5000)
    running(store)
    await eventually(lambda: store.bytes == on_disk(tmp_path) > 8000)
    running(small)
    await eventually(lambda: 0 < small.bytes == on_disk(tmp_path) <= 5000)


async def test_the_oldest_file_goes_first_and_a_running_execution_last(tmp_path: Path) -> None:
    def age(folder: Path, seconds: float) -> None:
        (path,) = files_of(folder)
        os.utime(path, (seconds, seconds))

    before = opened(tmp_path)
    for step in ("old", "new"):
        before.of("p", "v", step).line("x" * 1000)
    await before.write()
    store = opened(tmp_path)
    store.of("p", "v", "running").line("x" * 1000)
    await store.write()
    age(tmp_path / "p" / "running", 1000)
    age(tmp_path / "p" / "old", 2000)
    age(tmp_path / "p" / "new", 3000)
    store.size = 2500
    store.of("p", "v", "another").line("x")
    await store.write()
    assert [step for step in store.steps("p") if files_of(tmp_path / "p" / step)] == ["another", "new", "running"]


async def test_a_running_execution_is_kept_beside_fifty_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXECUTIONS", 2)
    store = opened(tmp_path)
    store.of("p", "v", "s").line("it goes on")
    await store.write()
    for n in range(4):
        append(tmp_path / "p" / "s" / f"9-{n}.log", b"\n")
    store.of("p", "v", "other").line("x")
    await store.write()
    kept = [path.name for path in files_of(tmp_path / "p" / "s")]
    assert (len(kept), kept[1:]) == (3, ["9-2.log", "9-3.log"])


async def test_memory_for_readers_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_CHARACTERS", 1000)
    store = opened(tmp_path)
    for _ in range(10):
        store.of("p", "v", "s").line("x" * 300)
    assert [line.n for line in store.recent("p", "s", 0)] == [8, 9, 10]


async def test_a_long_line_is_cut(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.of("p", "v", "s").line("x" * 5000)
    assert [len(x.text) for x in await read(store)] == [4096]


async def test_all_logs_together_keep_to_the_size(tmp_path: Path) -> None:
    store = opened(tmp_path, 20_000)
    for n in range(40):
        log = store.of("p", "v", f"s{n % 4}")
        log.begin()
        log.line("x" * 1000)
        await store.write()
    assert store.bytes <= 20_000
    assert sum(p.stat().st_size for p in tmp_path.rglob("*.log")) == store.bytes


async def test_old_executions_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXECUTIONS", 3)
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    for n in range(6):
        log.begin()
        log.line(f"execution {n}")
        await store.write()
    assert [x.text for x in await read(opened(tmp_path))] == ["execution 3", "execution 4", "execution 5"]


async def test_a_flood_is_bounded_in_memory_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING", 10_000)
    store = opened(tmp_path)
    log = store.of("p", "v", "s")
    for n in range(3000):
        log.line(f"line {n}")
    assert store.lost > 0
    assert len(store.recent("p", "s", 0)) == module.RECENT
    assert [line.n for line in store.recent("p", "s", 2998)] == [2999, 3000]
    await store.write()
    stored = [x.n for x in await read(opened(tmp_path))]
    assert len(stored) == 3000 - store.lost
