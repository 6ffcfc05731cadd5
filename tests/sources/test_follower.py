"""Following a file: each written line exactly once, under every rotation of the file."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.errors import ConfigError
from agent.sources import MAX_BATCH, MAX_LINE, Batch, Counters, follower
from agent.sources.batch import MAX_BACKLOG
from agent.sources.follower import Follower
from agent.sources.mark import Mark, continues, load_mark


class Reader:
    """A follower, the lines that it gave, and the position that was committed last."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path = path
        self.counters = Counters()
        self.follower = Follower(path, None, from_start=from_start, counters=self.counters)
        self.position: Any = json.loads(json.dumps(self.follower.position))
        self.lines: list[bytes] = []
        self.origins: list[tuple[str, int]] = []

    def next(self) -> Batch | None:
        return self.follower.read()

    def commit(self, batch: Batch) -> None:
        self.lines += batch.data.splitlines()
        self.origins += [batch.origin(n) for n in range(1, batch.lines + 1)]
        self.position = json.loads(json.dumps(batch.position))

    def read(self, most: int = 1 << 30) -> list[bytes]:
        before = len(self.lines)
        while most > 0 and (batch := self.next()) is not None:
            self.commit(batch)
            most -= 1
        return self.lines[before:]

    def restart(self) -> None:
        self.follower.close()
        self.follower = Follower(self.path, load_mark(self.position), from_start=False, counters=self.counters)


class LogLife(RuleBasedStateMachine):
    """A log file's life, with a reader that is stopped, killed and started again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="follower-"))
        self.path = self.folder / "messages"
        self.written: list[bytes] = []
        self.partial = b""
        self.count = 0

    @initialize(exists=st.booleans(), old=st.booleans())
    def start(self, exists: bool, old: bool) -> None:
        if old:
            (self.folder / "messages.1").write_bytes(b"of old times\n")
        if exists:
            self.path.write_bytes(b"already there\n")
        self.reader = Reader(self.path)

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.append(1, 0)
            self.reader.read()
            try:
                assert self.reader.lines == self.written
                assert len(set(self.reader.origins)) == len(self.reader.origins)
                assert self.reader.counters.unread == 0
            finally:
                self.reader.follower.close()
        shutil.rmtree(self.folder)

    def end_partial(self) -> None:
        if self.partial:
            self.written.append(self.partial)
            self.partial = b""

    def move_old_ones(self) -> None:
        for n in range(30, 0, -1):
            old = self.folder / f"messages.{n}"
            if old.exists():
                old.rename(self.folder / f"messages.{n + 1}")

    @rule(lines=st.integers(1, 4), padding=st.sampled_from([0, 10, 400]))
    def append(self, lines: int, padding: int) -> None:
        with self.path.open("ab") as file:
            for _ in range(lines):
                self.count += 1
                line = b"%d " % self.count + b"x" * padding
                file.write(line + b"\n")
                self.written.append(self.partial + line)
                self.partial = b""

    @rule()
    def look_while_nothing_is_read(self) -> None:
        self.reader.follower.observe()

    @rule()
    def append_the_beginning_of_a_line(self) -> None:
        self.count += 1
        self.partial += b"<%d" % self.count
        with self.path.open("ab") as file:
            file.write(b"<%d" % self.count)

    @rule(create=st.booleans())
    def rotate(self, create: bool) -> None:
        if self.path.exists():
            self.end_partial()
            self.move_old_ones()
            self.path.rename(self.folder / "messages.1")
        if create:
            self.path.touch()

    @rule()
    def copy_and_truncate(self) -> None:
        if self.path.exists() and not self.partial:
            self.move_old_ones()
            shutil.copyfile(self.path, self.folder / "messages.1")
            os.truncate(self.path, 0)

    @rule()
    def delete_what_was_opened(self) -> None:
        # Lines that a stopped reader has not read do not survive a deletion.
        self.reader.read()
        if self.path.exists() and not self.partial:
            self.path.unlink()

    @rule()
    def read_everything(self) -> None:
        self.reader.read()

    @rule()
    def read_one_batch(self) -> None:
        self.reader.read(1)

    @rule()
    def restart(self) -> None:
        self.reader.restart()

    @rule()
    def crash_before_the_commit(self) -> None:
        batch = self.reader.next()
        self.reader.restart()
        again = self.reader.next()
        if batch is None or again is None:
            assert batch is again is None or self.partial or again is not None
        elif self.reader.position["file"]["generation"] == batch.stream:
            assert again.origin(1) == batch.origin(1)
        if again is not None:
            self.reader.commit(again)

    @invariant()
    def never_more_than_was_written(self) -> None:
        if hasattr(self, "reader"):
            assert self.reader.lines == self.written[: len(self.reader.lines)]


TestLogLife = LogLife.TestCase
TestLogLife.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "messages"
    path.write_bytes(b"old\n")
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_reading_begins_at_the_end_or_at_the_start_by_choice(log: Path) -> None:
    at_end, at_start = Reader(log), Reader(log, from_start=True)
    append(log, b"new\n")
    assert at_end.read() == [b"new"]
    assert at_start.read() == [b"old", b"new"]


def test_a_line_in_writing_when_reading_begins_comes_whole(log: Path) -> None:
    append(log, b"begun")
    reader = Reader(log)
    append(log, b" and ended\n")
    assert reader.read() == [b"begun and ended"]


def test_a_partial_line_waits_for_its_newline(log: Path) -> None:
    reader = Reader(log)
    append(log, b"part")
    assert reader.read() == []
    append(log, b"ner\n")
    assert reader.read() == [b"partner"]


def test_a_file_that_is_created_later_is_read_from_its_start(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "later")
    assert reader.read() == []
    reader.restart()
    append(tmp_path / "later", b"first\n")
    assert reader.read() == [b"first"]


def test_binary_junk_passes_as_it_is(log: Path) -> None:
    reader = Reader(log)
    junk = bytes(b for b in range(256) if b != 10)
    append(log, junk + b"\nline\n")
    batch = reader.next()
    assert batch is not None
    assert batch.data == junk + b"\nline\n"


@pytest.mark.parametrize("length", [MAX_LINE, MAX_LINE + 1, 1_000_000, 3 * MAX_BATCH + 5])
def test_long_lines_are_cut_and_their_neighbours_come_whole(log: Path, length: int) -> None:
    reader = Reader(log)
    append(log, b"before\n" + b"x" * length + b"\nafter\n")
    assert reader.read() == [b"before", b"x" * min(length, MAX_LINE), b"after"]
    assert reader.counters.cut == (length > MAX_LINE)
    assert reader.origins[-1][1] == 4 + 7 + length + 1


def test_a_restart_within_a_long_line_does_not_repeat_it(log: Path) -> None:
    reader = Reader(log)
    append(log, b"x" * 100_000)
    assert reader.read() == [b"x" * MAX_LINE]
    reader.restart()
    append(log, b"y" * 100_000)
    assert reader.read() == []
    reader.restart()
    append(log, b"z\nafter\n")
    assert reader.read() == [b"after"]


def sizes_of(reader: Reader, *, dense: bool) -> list[int]:
    """Read to the end, telling the follower after each batch how much was found in it."""
    sizes = []
    while (batch := reader.next()) is not None:
        sizes.append(len(batch.data))
        reader.commit(batch)
        reader.follower.grow(sizes[-1], dense=dense)
    return sizes


def test_batches_of_a_backlog_grow_while_they_hold_few_events(log: Path) -> None:
    reader = Reader(log)
    lines = [b"%099d" % n for n in range(150_000)]
    append(log, b"".join(line + b"\n" for line in lines))
    sizes = sizes_of(reader, dense=False)
    assert reader.lines == lines
    assert sizes[0] <= MAX_BATCH < sizes[1] <= 2 * MAX_BATCH < sizes[2] <= MAX_BACKLOG
    assert max(sizes) <= MAX_BACKLOG


def test_batches_with_many_events_stay_small(log: Path) -> None:
    reader = Reader(log)
    append(log, b"".join(b"%099d\n" % n for n in range(30_000)))
    sizes = sizes_of(reader, dense=True)
    assert (len(sizes), max(sizes) <= MAX_BATCH) == (3, True)
    append(log, b"".join(b"%099d\n" % n for n in range(60_000)))
    assert sizes_of(reader, dense=False)[0] <= MAX_BATCH


def test_a_file_emptied_between_look_and_read_is_read_anew(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(log)
    append(log, b"old\n" * 5000)
    reader.read()

    def look(fd: int, mark: Mark) -> bool:
        same = continues(fd, mark)
        os.truncate(log, 0)
        return same

    with monkeypatch.context() as patch:
        patch.setattr(follower, "continues", look)
        assert reader.next() is None
    append(log, b"new\n")
    assert reader.read() == [b"new"]


def test_lines_of_a_renamed_file_come_before_the_new_file(log: Path) -> None:
    reader = Reader(log)
    with log.open("ab", buffering=0) as writer:
        log.rename(log.with_name("messages.1"))
        log.touch()
        writer.write(b"late\n")
        assert reader.read() == [b"late"]
        writer.write(b"later\n")
        append(log, b"new\n")
    assert reader.read() == [b"later", b"new"]


def test_a_file_rewritten_with_as_many_bytes_is_noticed(log: Path) -> None:
    reader = Reader(log)
    append(log, b"1st line\n")
    assert reader.read() == [b"1st line"]
    log.write_bytes(b"OLD\n2nd line\n3rd line\n")
    assert reader.read() == [b"OLD", b"2nd line", b"3rd line"]
    assert reader.origins[0][0] != reader.origins[1][0]
    assert reader.counters.gaps == 1


def test_a_file_with_the_same_start_but_another_end_is_another(log: Path) -> None:
    header = b"h" * 300 + b"\n"
    log.write_bytes(header + b"one\n")
    reader = Reader(log, from_start=True)
    assert reader.read() == [header[:-1], b"one"]
    log.write_bytes(header + b"two\nthree\n")
    assert reader.read() == [header[:-1], b"two", b"three"]


def test_the_unfinished_last_line_of_a_deleted_file_is_a_line(log: Path) -> None:
    reader = Reader(log)
    append(log, b"unfinished")
    log.unlink()
    append(log, b"new\n")
    assert reader.read() == [b"unfinished", b"new"]


def test_bytes_rotated_away_unread_are_counted(log: Path) -> None:
    reader = Reader(log)
    append(log, b"seen\n" + b"partial")
    reader.read()
    log.unlink()
    reader.restart()
    append(log, b"a new file\n")
    assert reader.read() == [b"a new file"]
    assert reader.counters.unread == len(b"partial")
    assert reader.counters.gaps == 1


MUCH = b"x" * 99 + b"\n"


def test_what_is_emptied_while_nothing_is_read_is_counted(log: Path) -> None:
    reader = Reader(log)
    append(log, b"seen\n")
    reader.read()
    append(log, MUCH * 50_000)
    reader.follower.observe()
    log.write_bytes(b"new\n")
    assert reader.read() == [b"new"]
    assert (reader.counters.unread, reader.counters.unknown) == (5_000_000, 0)


def test_files_that_come_and_go_unread_are_counted(log: Path) -> None:
    reader = Reader(log)
    append(log, b"first\n")
    for n in (2, 3):
        log.rename(log.with_name("messages.1"))
        append(log, b"%099d\n" % n + MUCH * 24_999)
        reader.follower.observe()
    log.unlink()
    log.with_name("messages.1").unlink()
    append(log, b"last\n")
    assert reader.read() == [b"first", b"last"]
    assert reader.counters.unread == 5_000_000


def test_files_that_were_seen_and_are_read_later_are_not_lost(log: Path) -> None:
    reader = Reader(log)
    append(log, b"1\n")
    for n in (2, 3, 4):
        reader.follower.observe()
        log.rename(log.with_name(f"messages.{9 - n}"))
        append(log, b"%d\n" % n)
    reader.follower.observe()
    assert reader.read() == [b"1", b"2", b"3", b"4"]
    assert reader.counters.unread == 0


@pytest.mark.parametrize("offset", [0, 5])
def test_after_a_restart_compressed_files_say_how_much_is_unread(log: Path, offset: int) -> None:
    reader = Reader(log)
    if offset:
        append(log, b"seen\n")
        reader.read()
    before = log.read_bytes()
    log.unlink()
    log.with_name("messages.1.gz").write_bytes(gzip.compress(before + MUCH * 50_000))
    append(log, b"new\n")
    reader.restart()
    assert reader.read() == [b"new"]
    assert reader.counters.unread == 5_000_000
    assert reader.counters.unknown == 0


def test_a_log_that_is_gone_without_a_trace_is_an_unknown_loss(log: Path) -> None:
    reader = Reader(log)
    append(log, b"seen\n")
    reader.read()
    log.unlink()
    append(log, b"another\n")
    reader.restart()
    assert reader.read() == [b"another"]
    assert (reader.counters.unread, reader.counters.unknown) == (0, 1)


def test_a_restart_after_several_rotations_reads_all_of_them(log: Path) -> None:
    reader = Reader(log)
    append(log, b"1\n")
    reader.read()
    append(log, b"2\n")
    log.rename(log.with_name("messages-20260301"))
    append(log, b"3\n")
    log.rename(log.with_name("messages-20260302"))
    append(log, b"4\n")
    log.with_name("messages-20260228").write_bytes(b"long ago\n")
    os.utime(log.with_name("messages-20260228"), (1, 1))
    log.with_name("messages-20260302.gz").write_bytes(b"\x1f\x8b")
    reader.restart()
    assert reader.read() == [b"2", b"3", b"4"]


def test_a_folder_or_a_pipe_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError) as caught:
            Reader(path)
        assert caught.value.hint


def test_a_position_of_something_else_is_an_error() -> None:
    with pytest.raises(ConfigError):
        load_mark({"journald": "s=1"})
