"""What every source of lines gives: batches of whole lines, each line with an origin, and a position to
resume from.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import msgspec

Position = dict[str, Any]
"""Where to go on reading: opaque, JSON-serialisable, committed in the same transaction as the batch's
events.
"""
MAX_BATCH = 1024 * 1024
"""Most bytes of log in one batch; cut lines aside, what a batch holds."""
MAX_BACKLOG = 4 * MAX_BATCH if sys.maxsize > 1 << 32 else MAX_BATCH
"""The same within the backlog of a file in which filters find little: what a batch costs beside its bytes weighs less then.

The batch, its copy for the filter and the one before it are in memory at once; small devices have 32 bits.
"""
MAX_LINE = 64 * 1024
"""Longest line in bytes, its newline aside; what is longer is cut to this and counted."""
_NEAR = 4
"""So many lines are found one by one; farther ones by counting newlines in spans of the expected length."""
_SAMPLE = 64 * 1024


class Batch:
    """Whole lines as they were read, each ending in a newline, and where each came from.

    `data` may be empty: then there is only a new `position` to commit. The lines of a batch belong to
    one `stream` (a random generation); `offset` is where the first of them starts in it. Lines count
    from 1.
    """

    __slots__ = ("_about", "_known", "_lines", "_origins", "_segments", "data", "dense", "offset", "position", "stream")

    def __init__(
        self,
        stream: str,
        offset: int,
        data: bytes,
        position: Position | None,
        *,
        segments: list[tuple[int, int]] | None = None,
        origins: list[str] | None = None,
    ) -> None:
        """`segments` pairs places in `data` with offsets in the stream where bytes were left out
        between them.

        `origins` are the streams of single lines, for sources whose lines have ids of their own.
        """
        self.stream = stream
        self.offset = offset
        self.data = data
        self.position = position
        self.dense = False
        """Set by whoever found many events in it, or failed on it: the next batches are small ones."""
        self._segments = segments or [(0, offset)]
        self._origins = origins
        self._known = (1, 0)
        self._lines = -1
        self._about = -1

    @property
    def lines(self) -> int:
        """How many lines there are; counted when it is first asked for, 40 ns a line."""
        if self._lines < 0:
            self._lines = self.data.count(b"\n")
        return self._lines

    def about(self) -> int:
        """How many lines there are: exactly up to 64 KiB, estimated from the first 64 KiB above."""
        size = len(self.data)
        if self._about < 0:
            sample = self.data.count(b"\n", 0, _SAMPLE)
            self._about = sample if size <= _SAMPLE else round(sample * size / _SAMPLE)
        return self._about

    def origin(self, line: int, at: int = -1) -> tuple[str, int]:
        """What the id of an event from this line is made of: (stream, offset); raises IndexError.

        `at` spares the search where it is known: the byte of `data` where the line starts.
        """
        if self._origins is None:
            return self.stream, self.offset_of(line, at)
        if not 1 <= line <= len(self._origins):
            raise IndexError(f"line {line} of {len(self._origins)}")
        return self._origins[line - 1], 0

    def offset_of(self, line: int, at: int = -1) -> int:
        """Where this line starts in the stream; cheap for ascending line numbers. Raises IndexError."""
        place = at if at >= 0 else self._place(line)
        start, offset = self._segments[bisect_right(self._segments, place, key=lambda s: s[0]) - 1]
        return offset + place - start

    def line(self, line: int, at: int = -1) -> bytes:
        """The line without its newline; raises IndexError."""
        place = at if at >= 0 else self._place(line)
        return self.data[place : self.data.find(b"\n", place)]

    def pieces(self, most: int) -> Iterator[Batch]:
        """The same lines, of the same origins, in batches of at most `most` bytes, a longer line alone; without a position."""
        start, line = 0, 0
        while start < len(self.data):
            end = self.data.rfind(b"\n", start, start + most) + 1 or self.data.find(b"\n", start) + 1 or len(self.data)
            data = self.data[start:end]
            offset = self.offset_of(1, start)
            segments = [(0, offset), *((s - start, o) for s, o in self._segments if start < s < end)]
            origins = None
            if self._origins is not None:
                first, line = line, line + data.count(b"\n")
                origins = self._origins[first:line]
            yield Batch(self.stream, offset, data, None, segments=segments, origins=origins)
            start = end

    def _place(self, line: int) -> int:
        """Where the line starts in `data`, counted (40 ns a line) from the last place asked for on, or from the beginning."""
        number, place = self._known
        if line < number:
            number, place = 1, 0
        data, size = self.data, len(self.data)
        average = 0.95 * size / max(1, self.about())  # a span a little too short is cheaper than one too long
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
    """Since the start of the source; what was dropped is counted by reason.

    `lines` are estimated while a backlog is read in large batches.
    `unread` are bytes that were rotated away before they were read; `gaps` how often that may have
    happened.
    """

    lines: int = 0
    bytes: int = 0
    cut: int = 0
    unread: int = 0
    gaps: int = 0
    restarts: int = 0
    dropped: dict[str, int] = {}

    def drop(self, reason: str, count: int = 1) -> bool:
        """Count what was dropped; returns whether it is the first time for this reason, which is worth
        a log line.
        """
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + count
        return before == 0


class LineSource(Protocol):
    """Where lines come from. Reading goes on only when the next batch is asked for."""

    @property
    def name(self) -> str:
        """What it reads, for people."""
        ...

    @property
    def counters(self) -> Counters:
        """What it has read and dropped."""
        ...

    @property
    def problem(self) -> str:
        """What keeps it from reading now, for `status`; empty when all is well."""
        ...

    def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Batches from `position` on, for ever; raises ConfigError for what can never be read."""
        ...
