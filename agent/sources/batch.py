"""The interface of all sources of lines: batches of whole lines, each line with an origin, and a position to resume from."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

Position = dict[str, Any]
"""The place to resume from: opaque, JSON-serialisable, committed in one transaction with the batch's events."""
MAX_BATCH = 1024 * 1024
"""Most bytes of log in one batch, apart from cut lines."""
MAX_BACKLOG = 4 * MAX_BATCH if sys.maxsize > 1 << 32 else MAX_BATCH
"""The same in the backlog of a file in which filters find little: the fixed cost of a batch then weighs less.

The batch is in memory twice where the filter reads it in small pieces; small devices have 32 bits.
"""
MAX_LINE = 64 * 1024
"""Longest line in bytes without its newline; longer lines are cut and counted."""
_NEAR = 4
"""Up to this many lines ahead are found one by one; lines farther on by counting newlines in spans of the expected length."""
_SAMPLE = 64 * 1024


class Anchor(NamedTuple):
    """The newest line of a log, and the Unix time when the log was changed last."""

    line: bytes
    changed: float


class Batch:
    """Whole lines as they were read, each ending in a newline, and the origin of each.

    `data` may be empty: then there is only a new `position` to commit. It may be a bytearray whose memory is used again when nothing
    refers to it, so a reader that keeps batches keeps their memory, too. The lines of a batch belong to one `stream` (a
    random generation); the first of them starts at `offset` in it. Lines count from 1.
    """

    __slots__ = (
        "_about", "_known", "_lines", "_origins", "_segments", "_senders", "anchor", "data", "dense", "max_age", "offset", "position",
        "stream",
    )  # fmt: skip

    def __init__(
        self,
        stream: str,
        offset: int,
        data: bytes,
        position: Position | None,
        *,
        segments: list[tuple[int, int]] | None = None,
        origins: list[str] | None = None,
        senders: list[str] | None = None,
    ) -> None:
        """`segments` pairs places in `data` with offsets in the stream, where bytes were left out between them.

        `origins` are the streams of single lines, for sources that give each line an id. `senders` are the network addresses
        that single lines came from, for sources that receive them.
        """
        self.stream = stream
        self.offset = offset
        self.data = data
        self.position = position
        self.dense = False
        """Set by a reader that finds many events in it or fails on it: the next batches are small."""
        self.max_age = 0.0
        """Most seconds since any of its lines was written; infinity for a backlog of unknown age."""
        self.anchor: Anchor | None = None
        """For the lines of a backlog: the newest line of their log."""
        self._segments = segments or [(0, offset)]
        self._origins = origins
        self._senders = senders
        self._known = (1, 0)
        self._lines = -1
        self._about = -1

    @property
    def lines(self) -> int:
        """The number of lines; counted at the first use, 40 ns per line."""
        if self._lines < 0:
            self._lines = self.data.count(b"\n")
        return self._lines

    def about(self) -> int:
        """The number of lines: exact up to 64 KiB, above estimated from the first 64 KiB."""
        size = len(self.data)
        if self._about < 0:
            sample = self.data.count(b"\n", 0, _SAMPLE)
            self._about = sample if size <= _SAMPLE else round(sample * size / _SAMPLE)
        return self._about

    def origin(self, line: int, at: int = -1) -> tuple[str, int]:
        """The (stream, offset) that ids of events from this line are made of; raises IndexError.

        `at` is the byte of `data` where the line starts, where it is known: it saves the search, and `line` may be 0 then.
        """
        if self._origins is None:
            return self.stream, self.offset_of(line, at)
        line = line or self._number(at)
        if not 1 <= line <= len(self._origins):
            raise IndexError(f"line {line} of {len(self._origins)}")
        return self._origins[line - 1], 0

    def offset_of(self, line: int, at: int = -1) -> int:
        """The offset of this line in the stream; cheap for ascending line numbers. Raises IndexError."""
        place = self.place(line, at)
        start, offset = self._segments[bisect_right(self._segments, place, key=lambda s: s[0]) - 1]
        return offset + place - start

    def line(self, line: int, at: int = -1) -> bytes:
        """The line without its newline; raises IndexError."""
        place = self.place(line, at)
        return bytes(self.data[place : self.data.find(b"\n", place)])

    def sender(self, line: int, at: int = -1) -> str:
        """The network address that the line came from, empty for a log of this host; raises IndexError. `at` is as in `origin`."""
        if self._senders is None:
            return ""
        line = line or self._number(at)
        if not 1 <= line <= len(self._senders):
            raise IndexError(f"line {line} of {len(self._senders)}")
        return self._senders[line - 1]

    def pieces(self, most: int) -> Iterator[Batch]:
        """The same lines with their origins in batches of at most `most` bytes, a longer line alone; without a position."""
        start, line = 0, 0
        while start < len(self.data):
            end = self.data.rfind(b"\n", start, start + most) + 1 or self.data.find(b"\n", start) + 1 or len(self.data)
            data = self.data[start:end]
            offset = self.offset_of(1, start)
            segments = [(0, offset), *((s - start, o) for s, o in self._segments if start < s < end)]
            origins = senders = None
            if self._origins is not None or self._senders is not None:
                first, line = line, line + data.count(b"\n")
                origins = self._origins[first:line] if self._origins is not None else None
                senders = self._senders[first:line] if self._senders is not None else None
            yield Batch(self.stream, offset, data, None, segments=segments, origins=origins, senders=senders)
            start = end

    def place(self, line: int, at: int = -1) -> int:
        """The byte of `data` where this line starts; arguments and errors are as in `origin`."""
        return at if at >= 0 else self._place(line)

    def _number(self, at: int) -> int:
        """The number of the line that starts at this byte: the lines from the last place in use are counted."""
        number, place = self._known if self._known[1] <= at else (1, 0)
        number += self.data.count(b"\n", place, at)
        self._known = (number, at)
        return number

    def _place(self, line: int) -> int:
        """The start of the line in `data`, counted (40 ns per line) from the last place in use or from the beginning."""
        number, place = self._known
        if line < number:
            number, place = 1, 0
        data, size = self.data, len(self.data)
        average = 0.95 * size / max(1, self.about())  # a span a little too short is cheaper than a span too long
        span = int((line - number) * average)
        while line - number > _NEAR and place < size:
            count = data.count(b"\n", place, place + span)
            if count < line - number:
                number += count
                place += span
                span = max(64, int((line - number) * average))
            elif span > 64:
                span //= 2
            else:
                break
        while number < line and 0 <= place < size:
            place = data.find(b"\n", place) + 1 or size
            number += 1
        if line < 1 or place >= size:
            raise IndexError(f"line {line} of {self.lines}")
        self._known = (line, place)
        return place


class Counters(msgspec.Struct):
    """Counts since the start of the source; dropped lines are counted by reason.

    `lines` are estimated while a backlog is read in large batches. `unread` are bytes that were rotated away before they
    were read; `gaps` counts how often that may have happened, `unknown` how often an unknown number of them was. `missing`: there
    is no such log now.
    """

    lines: int = 0
    bytes: int = 0
    cut: int = 0
    unread: int = 0
    gaps: int = 0
    restarts: int = 0
    dropped: dict[str, int] = {}
    unknown: int = 0
    missing: bool = False

    def drop(self, reason: str, count: int = 1) -> bool:
        """Count dropped lines; returns whether it is the first time for this reason, to be logged."""
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + count
        return before == 0


class SenderCount(msgspec.Struct):
    """Counts of one sender since the start of the source. `last` is the Unix time of its last message, 0 before the first.

    `lines` and `bytes` were passed on; `dropped` counts messages by reason. `allowed` says whether its messages are passed on now,
    `decided` whether an operator's decision says so. `sample` is the beginning of its last message, for a person to recognise it.
    """

    address: str
    allowed: bool = True
    lines: int = 0
    bytes: int = 0
    last: float = 0.0
    dropped: dict[str, int] = {}
    sample: str = ""
    decided: bool = False


class LineSource(Protocol):
    """A source of lines. It reads on only when the next batch is asked for."""

    @property
    def name(self) -> str:
        """The name of the log, for people."""
        ...

    @property
    def counters(self) -> Counters:
        """Counts of read and dropped lines."""
        ...

    @property
    def problem(self) -> str:
        """The error that keeps it from reading now, for `status`; empty without one."""
        ...

    def senders(self) -> list[SenderCount]:
        """The senders that it remembers, the last heard first; empty for a log of this host."""
        ...

    def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Batches from `position` on, without end; raises ConfigError for a log that can never be read."""
        ...
