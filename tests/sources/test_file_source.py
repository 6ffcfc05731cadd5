"""The file source on the event loop: woken by the kernel or by a timer, and stopped without leftovers."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.sources import FileSource, file_source
from agent.sources.follower import Follower
from tests.sources.support import Collector
from tests.support import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "messages"
    path.write_bytes(b"old\n")
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize("watch", [True, False])
async def test_lines_come_as_they_are_written_and_through_rotation(log: Path, watch: bool) -> None:
    source = FileSource(log, watch=watch)
    async with Collector(source) as reader:
        await reader.begun.wait()
        append(log, b"one\n")
        await eventually(lambda: reader.lines == [b"one"])
        log.rename(log.with_name("messages.1"))
        append(log, b"two\n")
        await eventually(lambda: reader.lines == [b"one", b"two"])
        os.truncate(log, 0)
        append(log, b"3\n")
        await eventually(lambda: reader.lines == [b"one", b"two", b"3"])
        log.unlink()
        append(log, b"four\n")
        await eventually(lambda: reader.lines[3:] == [b"four"])
    assert source.counters.lines == 4
    assert source.counters.bytes == len(b"one\ntwo\n3\nfour\n")


async def test_a_missing_log_is_read_once_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_source, "POLL_WATCHED", 0.05)
    monkeypatch.setattr(file_source, "ABSENT", 0.1)
    path = tmp_path / "made" / "later"
    source = FileSource(path)
    async with Collector(source) as reader:
        await eventually(lambda: source.counters.missing)
        path.parent.mkdir()
        append(path, b"one\n")
        await eventually(lambda: reader.lines == [b"one"])
        await eventually(lambda: not source.counters.missing)


async def test_a_quiet_log_and_a_short_absence_are_not_missing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_source, "POLL_WATCHED", 0.05)
    source = FileSource(log)
    async with Collector(source) as reader:
        await reader.begun.wait()
        log.rename(log.with_name("messages.1"))
        await eventually(lambda: source._absent_since is not None)
        append(log, b"one\n")
        await eventually(lambda: reader.lines == [b"one"])
    assert not source.counters.missing


async def test_the_size_of_a_log_is_watched_while_its_reader_waits(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_source, "OBSERVE", 0.01)
    source = FileSource(log)
    batches = source.batches(None)
    await anext(batches)
    append(log, b"one\n")
    await anext(batches)
    append(log, b"x" * 5_000_000)
    follower = next(f for f in gc.get_objects() if isinstance(f, Follower) and f._path == log)
    await eventually(lambda: follower._mark.size > 5_000_000)
    log.write_bytes(b"two\n")
    assert (await anext(batches)).data == b"two\n"
    await batches.aclose()  # type: ignore[attr-defined]
    assert source.counters.unread == 5_000_000


async def test_the_first_batch_is_empty_and_says_where_reading_begins(log: Path) -> None:
    async with Collector(FileSource(log)) as reader:
        await reader.begun.wait()
    assert reader.batches[0].data == b""
    append(log, b"while nobody reads\n")
    async with Collector(FileSource(log), reader.position) as again:
        await eventually(lambda: again.lines == [b"while nobody reads"])


async def test_the_same_line_has_the_same_origin_when_it_is_read_again(log: Path) -> None:
    async with Collector(FileSource(log)) as reader:
        await reader.begun.wait()
        begun = reader.position
        append(log, b"a\nb\n")
        await eventually(lambda: len(reader.lines) == 2)
    async with Collector(FileSource(log), begun) as again:
        await eventually(lambda: len(again.lines) == 2)
    assert again.origins == reader.origins
    assert len(set(again.origins)) == 2


async def test_reading_goes_on_only_when_the_next_batch_is_asked_for(log: Path) -> None:
    append(log, b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 50_000)
    source = FileSource(log, from_start=True)
    batches = source.batches(None)
    await anext(batches)
    first = await anext(batches)
    await asyncio.sleep(0.05)
    assert source.counters.bytes == len(first.data)
    await batches.aclose()  # type: ignore[attr-defined]


async def test_a_file_that_may_not_be_read_is_a_problem_until_it_may(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, forbidden = os.open, True

    def open_(path: object, *args: object, **kwargs: object) -> int:
        if forbidden and str(path) == str(log):
            raise PermissionError(13, "Permission denied", str(log))
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_)
    source = FileSource(log, from_start=True)
    async with Collector(source) as reader:
        await eventually(lambda: "Permission denied" in source.problem)
        forbidden = False
        await eventually(lambda: reader.lines == [b"old"])
        assert source.problem == ""


async def test_a_folder_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        await anext(FileSource(tmp_path).batches(None))


async def test_nothing_stays_open_when_reading_stops(log: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with Collector(FileSource(log)) as reader:
        await reader.begun.wait()
    before = descriptors()
    for _ in range(5):
        async with Collector(FileSource(log)) as reader:
            await reader.begun.wait()
            append(log, b"line\n")
            await eventually(lambda: reader.lines == [b"line"])
    assert descriptors() == before


async def test_a_missing_folder_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "later" / "messages"
    async with Collector(FileSource(log, watch=False)) as reader:
        await reader.begun.wait()
        log.parent.mkdir()
        append(log, b"first\n")
        await eventually(lambda: reader.lines == [b"first"])
