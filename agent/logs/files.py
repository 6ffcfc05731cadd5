"""The files of a log: one or two for each execution, a JSON line for each line, oldest first.

`<folder>/<pipeline>/<step>/<number of its first line>-<id>.log`, and with `.1` at the end its older half, when there is one. A line is
[n, time, stream, text, event]. The last line may be torn: it is left out when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.logs.wire import LogLine

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


def append(path: Path, data: bytes) -> None:
    """Append to a private file, made with its folders where it is missing; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


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
