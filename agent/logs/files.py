"""The files of a log: one or two for each execution, a JSON line for each line, oldest first.

`<folder>/<pipeline>/<step>/<number of its first line>-<id>.log`, and with `.1` at the end its older half, when there is one. A line is
[n, time, stream, text, event]. A torn line is left out when it is read. Executions may overlap: the numbers rise within a file only.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import msgspec

from agent.logs.wire import LogLine

log = logging.getLogger(__name__)

SUFFIX, OLDER = ".log", ".1"
_END = 64 << 10
"""Bytes at the end of a file in which its last line is: more than twice the longest line."""
_Stored = tuple[int, str, str, str, str]
_DECODER = msgspec.json.Decoder(_Stored)
_ENCODER = msgspec.json.Encoder()


def encoded(line: LogLine) -> bytes:
    """The line as it is stored in a file."""
    return _ENCODER.encode((line.n, line.time, line.stream, line.text, line.event)) + b"\n"


def files_of(folder: Path) -> list[Path]:
    """The files of one step, oldest first."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.name.removesuffix(OLDER).endswith(SUFFIX)]
    return sorted(found, key=lambda p: (p.name.removesuffix(OLDER), not p.name.endswith(OLDER)))


def execution_of(path: Path) -> str:
    """The execution whose lines are in the file."""
    return path.name.removesuffix(OLDER).removesuffix(SUFFIX)


# -- writing ----------------------------------------------------------------------------------------------------------


def append(path: Path, data: bytes) -> int:
    """Append whole lines to a private file, made with its folders where it is missing; returns the bytes written. Raises OSError.

    If a full disk or a power cut tore the last line, a newline comes first.
    """
    _make(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        rest = data
        while rest:
            rest = rest[os.write(fd, rest) :]
        return len(data)
    finally:
        os.close(fd)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


# -- reading ----------------------------------------------------------------------------------------------------------


def lines_of(path: Path, step: str) -> Iterator[LogLine]:
    """The lines of a file; damaged lines are left out. Raises OSError."""
    execution = execution_of(path)
    with path.open("rb") as file:
        for raw in file:
            try:
                n, time, stream, text, event = _DECODER.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            yield LogLine(step, n, time, stream, text, event, execution)


def last_number(folder: Path) -> int:
    """The number of the step's newest line, which may be in any of its files; 0 before its first line. Raises OSError."""
    return max((_last_number(path) for path in files_of(folder)), default=0)


def _last_number(path: Path) -> int:
    """The number of the file's last line; 0 where it has none."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
        for raw in reversed(file.read().split(b"\n")):
            try:
                number: int = _DECODER.decode(raw)[0]
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            return number
    return 0


def oldest_first(folder: Path, step: str, after: int, before: int) -> Iterator[LogLine]:
    """The step's lines with numbers between `after` and `before`. Each file is opened when the first number in its name is reached."""
    streams = [_numbered(path, step) for last, path in _by_last(folder) if last > after]
    for n, line in heapq.merge(*streams, key=itemgetter(0)):
        if n >= before:
            return
        if line is not None and n > after:
            yield line


def newest(folder: Path, step: str, before: int, count: int, oldest: str) -> list[LogLine]:
    """The `count` newest lines with numbers below `before` that are no older than the time `oldest`, by number.

    Files that are older than what was found, or than a file without any such line, are not read.
    """
    found: list[LogLine] = []
    for last, path in sorted(_by_last(folder), reverse=True):
        if len(found) == count and found[0].n > last:
            break
        lines = (line for _, line in _numbered(path, step) if line is not None)
        kept = deque((line for line in lines if line.n < before and line.time >= oldest), maxlen=count)
        if not kept and last < before:
            break
        found = sorted([*kept, *found], key=lambda line: line.n)[-count:]
    return found


def _by_last(folder: Path) -> Iterator[tuple[int, Path]]:
    """The step's files with the numbers of their last lines."""
    for path in files_of(folder):
        try:
            yield _last_number(path), path
        except OSError as e:
            log.debug("%s cannot be read: %s", path, e)  # deleted a moment ago, to make room


def _numbered(path: Path, step: str) -> Iterator[tuple[int, LogLine | None]]:
    """First the number in the file's name, before the file is opened, then its lines with their numbers."""
    first = path.name.partition("-")[0]
    yield int(first) if first.isdecimal() else 0, None
    try:
        for line in lines_of(path, step):
            yield line.n, line
    except OSError as e:
        log.debug("%s cannot be read: %s", path, e)
