"""Follows one log file through rotation and truncation; blocking, for a thread.

An open file is read to its end before another file is checked, so no order of writing, renaming and creating loses a line.
A file is left only when its name belongs to another file that has bytes: the writer has then moved on. Copy-truncate is
followed into the copy.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import deque
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.sources.batch import MAX_BACKLOG, MAX_BATCH, Anchor, Batch, Counters, Position
from agent.sources.block import BlockReader
from agent.sources.lines import shape
from agent.sources.mark import REMEMBERED, Mark, before, bind, continues, identity, moved, new_generation, place
from agent.sources.rotated import RotatedFile, compressed_files, rotated_files
from agent.sources.seen_files import SeenFiles

logger = logging.getLogger(__name__)

CLOCK_TICK = 20_000_000
"""Nanoseconds by which the times of files may lag behind the clock: the kernel takes them from its coarse clock."""


NEWEST = 16 * 1024
"""Bytes at the end of the log in which its last line is looked for."""


class Follower:
    """Reads the lines of the file at `path` as it is rotated; not thread-safe."""

    def __init__(self, path: Path, mark: Mark | None, *, from_start: bool, counters: Counters) -> None:
        """Resume at `mark`; without one start at the file's end (`from_start`: at its beginning)."""
        self._path = path
        self._counters = counters
        self._fd = -1
        self._waiting: deque[int] = deque()
        self._superseded = False
        self._most = MAX_BATCH
        self._blocks = BlockReader()
        self._seen = SeenFiles()
        self.absent = False
        """Whether no file has the log's name now."""
        if mark is not None:
            self._mark = mark
            self._resume()
        else:
            self._mark = Mark(new_generation())
            self._begin(from_start)

    def close(self) -> None:
        """Close the open files."""
        for fd in (self._fd, *self._waiting):
            if fd >= 0:
                os.close(fd)
        self._fd = -1
        self._waiting.clear()

    @property
    def position(self) -> Position:
        """The place to resume from."""
        return {"file": msgspec.to_builtins(self._mark)}

    @property
    def descriptor(self) -> int:
        """The descriptor of the open file, to be watched; -1 without one."""
        return self._fd

    def observe(self) -> None:
        """Look at the sizes, while nothing is read for long: of what is rotated away meanwhile the size is known. Never raises."""
        try:
            if self._fd >= 0:
                self._mark.size = max(self._mark.size, os.fstat(self._fd).st_size)
            fd = self._open(self._path)
        except (OSError, ConfigError):
            return
        if fd >= 0:
            try:
                self._seen.see(fd, (self._fd, *self._waiting))
            finally:
                os.close(fd)

    def newest(self) -> Anchor | None:
        """The last whole line of the log, and the time of the log's last change; None where there is none."""
        fd = self._open(self._path)
        if fd < 0:
            return None
        try:
            status = os.fstat(fd)
            lines = os.pread(fd, NEWEST, max(0, status.st_size - NEWEST)).rpartition(b"\n")[0]
        finally:
            os.close(fd)
        line = lines[lines.rfind(b"\n") + 1 :]
        return Anchor(line, status.st_mtime) if line else None

    def grow(self, size: int, *, dense: bool) -> bool:
        """After a batch of `size` bytes: read twice as much at once, up to MAX_BACKLOG, where it was full and not `dense`.

        Otherwise no more than MAX_BATCH. Returns whether it grew.
        """
        grows = size > self._most // 2 and not dense
        self._most = min(2 * self._most, MAX_BACKLOG) if grows else MAX_BATCH
        return grows

    def read(self) -> Batch | None:
        """The next lines, or None when no new line has come; raises OSError and ConfigError."""
        while True:
            if self._fd < 0 and not self._open_first():
                self._look()
                return None
            batch = self._read_block()
            if batch is not None:
                self._counters.lines += batch.about()
                self._counters.bytes += len(batch.data)
                return batch
            if not self._advance():
                return None

    # -- reading ------------------------------------------------------------------------------------

    def _read_block(self) -> Batch | None:
        """Lines from the open file; None at its end."""
        while True:
            mark = self._mark
            if not continues(self._fd, mark):
                self._emptied()
                continue
            if self._overtaken():
                continue
            previous = before(mark, self._fd)
            block, last = self._blocks.read(self._fd, mark.offset, self._most)
            final = last and self._complete()
            shaped = shape(block, mark.offset, mark.skip, final=final)
            if not shaped.consumed:
                return None
            after = moved(mark, previous, memoryview(block)[: shaped.consumed])
            # It may have been emptied and written again between the check and the read.
            if not continues(self._fd, after):
                self._emptied()
                continue
            bind(after, self._fd)
            after.skip = shaped.skipping
            self._mark = after
            self._counters.cut += shaped.cut
            if shaped.data:
                start = shaped.segments[0][1]
                return Batch(mark.generation, start, shaped.data, self.position, segments=shaped.segments)

    def _complete(self) -> bool:
        """Whether the open file will not grow any more."""
        return self._superseded or bool(self._waiting)

    def _emptied(self) -> None:
        """The open file was truncated or rewritten in place: continue in its copy, if there is one."""
        copy = self._find_copy()
        if copy >= 0:
            self._line_up(copy)
            self._switch(copy, self._mark)
        else:
            self._lost()
            self._switch(self._fd, self._fresh())

    def _overtaken(self) -> bool:
        """Whether the open file, of which nothing was read yet, was copied and emptied: then the copies come first."""
        mark = self._mark
        if mark.offset or self._complete() or os.fstat(self._fd).st_mtime_ns == mark.mtime:
            return False
        since = mark.mtime
        bind(mark, self._fd)
        older = rotated_files(self._path)
        places = [(s.device, s.inode) for s in older]
        if (mark.device, mark.inode) in places:
            older = older[: places.index((mark.device, mark.inode))]
        self._line_up_rotated(older, since, set())
        if not self._waiting:
            return False
        self._waiting.append(self._fd)
        self._fd = -1
        self._switch(self._waiting.popleft(), self._fresh())
        return True

    # -- moving on ----------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """At the end of the open file: move on to the next one, if there is one."""
        if self._waiting:
            self._finish()
            self._switch(self._waiting.popleft(), self._fresh())
            return True
        if self._superseded:
            self._finish()
            self._line_up(self._fd)
            if self._waiting:
                self._switch(self._waiting.popleft(), self._fresh())
                return True
            self._superseded = False
            return False
        status = self._look()
        if status is None or not status.st_size:
            return False
        open_now = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) == (open_now.st_dev, open_now.st_ino):
            return False
        # Another file has the name, and bytes: read the old file to its end once more, then leave it.
        self._superseded = True
        return True

    def _open_first(self) -> bool:
        """Open the first file with bytes that came after `mark.mtime`, as a new generation."""
        if not self._waiting:
            self._line_up_since(self._mark.mtime, set())
        if not self._waiting:
            return False
        self._switch(self._waiting.popleft(), self._fresh())
        return True

    def _switch(self, fd: int, mark: Mark) -> None:
        if self._fd >= 0 and self._fd != fd:
            os.close(self._fd)
        self._fd = fd
        self._superseded = False
        since = mark.mtime
        bind(mark, fd)
        if not mark.offset:
            # Nothing is known of this file yet: its changes since the last file are not checked yet.
            mark.mtime = since
        self._mark = mark

    def _fresh(self) -> Mark:
        return Mark(new_generation(), mtime=self._mark.mtime, done=self._mark.done)

    def _finish(self) -> None:
        """Remember the open file as finished."""
        done = [*self._mark.done, identity(self._fd)]
        self._mark.done = done[-REMEMBERED:]

    def _line_up(self, current: int) -> None:
        """Queue the files after `current`: missed rotated files, then the log itself."""
        status = os.fstat(current)
        self._line_up_since(status.st_mtime_ns, {(status.st_dev, status.st_ino)})

    def _line_up_since(self, mtime: int, known: set[tuple[int, int]]) -> None:
        # The log is opened before the others are listed: renamed in between, it is not missed.
        last = self._open(self._path)
        if last >= 0:
            status = os.fstat(last)
            if (status.st_dev, status.st_ino) in known or not status.st_size:
                os.close(last)
                last = -1
            else:
                known.add((status.st_dev, status.st_ino))
        self._line_up_rotated(rotated_files(self._path), mtime, known)
        if last >= 0:
            self._waiting.append(last)
        for size in self._seen.gone((self._fd, *self._waiting)):
            self._gone(size)

    def _line_up_rotated(self, rotated: list[RotatedFile], mtime: int, known: set[tuple[int, int]]) -> None:
        for file in rotated:
            if (file.device, file.inode) in known or file.mtime < mtime or not file.size:
                continue
            other = self._open_rotated(file.path)
            if other >= 0 and identity(other) in self._mark.done:
                os.close(other)
            elif other >= 0:
                self._waiting.append(other)

    # -- finding ------------------------------------------------------------------------------------

    def _begin(self, from_start: bool) -> None:
        for file in rotated_files(self._path)[-REMEMBERED:]:
            fd = self._open_rotated(file.path)
            if fd >= 0:
                self._mark.done.append(identity(fd))
                os.close(fd)
        fd = self._open(self._path)
        if fd >= 0:
            place(self._mark, fd, 0 if from_start else _last_line_start(fd))
            self._switch(fd, self._mark)
        else:
            self._mark.mtime = time.time_ns() - CLOCK_TICK

    def _resume(self) -> None:
        """Find the marked place: in the file itself, under its rotated name, or in a copy."""
        mark = self._mark
        if not mark.inode:
            return
        fd = self._open(self._path)
        if fd >= 0:
            if _is_file_of(fd, mark) and continues(fd, mark):
                self._switch(fd, mark)
                return
            os.close(fd)
        fd = self._find_copy(same_inode=True)
        if fd < 0:
            fd = self._find_copy()
        if fd >= 0:
            self._line_up(fd)
            self._switch(fd, mark)
            return
        packed = [file for file in compressed_files(self._path) if file.mtime >= mark.mtime]
        self._lost(sum(file.size for file in packed) - mark.offset)
        if not packed:
            self._counters.unknown += 1
        self._mark = self._fresh()

    def _find_copy(self, *, same_inode: bool = False) -> int:
        """A rotated file in which the marked place is found again; -1 if no file has it."""
        mark = self._mark
        for file in reversed(rotated_files(self._path)):
            is_marked = (file.device, file.inode) == (mark.device, mark.inode)
            if is_marked != same_inode or file.mtime < mark.mtime:
                continue
            if not mark.offset and not same_inode:
                continue
            fd = self._open_rotated(file.path)
            if fd >= 0:
                if continues(fd, mark):
                    return fd
                os.close(fd)
        return -1

    def _lost(self, least: int = 0) -> None:
        """The rest of the open file is gone: at least so many bytes."""
        self._gone(max(least, self._mark.size - self._mark.offset, 0))

    def _gone(self, missed: int) -> None:
        self._counters.unread += missed
        self._counters.gaps += 1
        logger.info("%s was emptied or rotated away; %d bytes were not read", self._path, missed)

    def _look(self) -> os.stat_result | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            status = None
        self.absent = status is None
        return status

    def _open_rotated(self, path: Path) -> int:
        try:
            return self._open(path)
        except PermissionError as error:
            logger.warning("a rotated log cannot be read: %s", error)
            return -1

    def _open(self, path: Path) -> int:
        """Open a regular file; -1 where there is none."""
        try:
            # Without O_NONBLOCK opening a FIFO would wait for its writer.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return -1
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ConfigError(f"{path} is not a regular file", hint="tail a log file, journald, logread or {syslog: …}")
        return fd


def _is_file_of(fd: int, mark: Mark) -> bool:
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino) == (mark.device, mark.inode)


def _last_line_start(fd: int) -> int:
    """The start of the unfinished last line; the file's size where there is none, or where it is too long."""
    size = os.fstat(fd).st_size
    start = max(0, size - MAX_BATCH)
    newline = os.pread(fd, size - start, start).rfind(b"\n")
    if newline < 0:
        return 0 if start == 0 else size
    return start + newline + 1
