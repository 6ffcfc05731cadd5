"""The JPEGs in a stream of bytes, found by their markers; what a camera writes around them does not matter.

A multipart stream (MJPEG over HTTP) has boundaries, types and lengths around its pictures, and cameras write all of these
wrongly. A JPEG says itself where it ends: its segments have lengths, so that a preview within one ends nothing, and the
data of a scan runs to the next marker (ITU-T T.81, annex B).
"""

from __future__ import annotations

import re

from agent.cameras.jpeg import ALONE, MAX_JPEG, SOS, START, TooLarge

_AFTER_SCAN = frozenset({0xC4, 0xDB, 0xDC, 0xDD, SOS, *range(0xE0, 0xF0), 0xFE})
"""Segments that may stand between two scans; any other marker within a scan is damage."""
_SOI, _EOI = 0xD8, 0xD9
_PART_HEADER = re.compile(rb"\r?\n?[ -~]{0,200}\r?\n(?:[A-Za-z-]{1,40}:[ -~\t]{0,400}\r?\n)*(?:\r?\n)?\Z")
"""The end of a part and the header of the next one, behind a picture without an end marker."""
_LONGEST_HEADER = 2048
_SEGMENTS = 16
"""Segments of a damaged picture that are searched again for the next one: the work stays linear in the bytes."""


class Frames:
    """Takes chunks as they arrive and gives the pictures in them; raises ValueError where `limit` bytes hold none.

    A picture that is cut off by the next one is given too: a decoder may make something of it.
    """

    def __init__(self, limit: int = MAX_JPEG) -> None:
        self._limit = limit
        self._held = bytearray()
        self._inside = self._scan = self._data = False
        self._at = self._segments = self._skipped = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The pictures that this chunk completes."""
        self._held += chunk
        found = []
        while (picture := self._next()) is not None:
            found.append(picture)
        if len(self._held) > self._limit:
            raise TooLarge(f"a picture is larger than {self._limit >> 20} MiB")
        if self._skipped > self._limit:
            raise ValueError(f"its first {self._limit >> 20} MiB hold no picture")
        return found

    def rest(self) -> bytes:
        """The picture that the end of the stream has cut off; empty where it had no picture data yet."""
        return bytes(self._held) if self._inside and self._data else b""

    def _next(self) -> bytes | None:
        while True:
            if not self._inside and not self._started():
                return None
            end = self._in_scan() if self._scan else self._in_header()
            if end is None:
                return None
            if end > 0:
                return self._cut(end)

    def _started(self) -> bool:
        at = self._held.find(START)
        if at < 0:
            # The last two bytes may be the beginning of the next picture.
            drop = max(len(self._held) - 2, 0)
            self._skipped += drop
            del self._held[:drop]
            return False
        self._skipped += at
        del self._held[:at]
        self._inside, self._scan, self._data, self._at, self._segments = True, False, False, 2, 0
        return True

    def _in_header(self) -> int | None:
        """Go through the segments; None: more bytes are needed, 0: the state has changed."""
        held = self._held
        while self._at + 4 <= len(held):
            if held[self._at] != 0xFF:
                return self._damaged()
            marker = held[self._at + 1]
            if marker == 0xFF or marker in ALONE:
                self._at += 1 if marker == 0xFF else 2
                continue
            length = int.from_bytes(held[self._at + 2 : self._at + 4], "big")
            if marker in (0x00, _SOI, _EOI) or length < 2:
                return self._damaged()
            if self._at + 2 + length > len(held):
                return None
            self._at += 2 + length
            self._segments += 1
            if marker == SOS:
                self._scan = self._data = True
                return 0
        return None

    def _in_scan(self) -> int | None:
        """Go through the scan's data; None: more bytes are needed, 0: a segment follows, else the picture's end."""
        held, at = self._held, self._at
        while 0 <= (at := held.find(0xFF, at)) < len(held) - 1:
            marker = held[at + 1]
            if marker == _EOI:
                return at + 2
            if marker == _SOI:
                return at
            if marker in _AFTER_SCAN:
                self._at, self._scan = at, False
                return 0
            at += 1 if marker == 0xFF else 2
        self._at = at if at >= 0 else len(held)
        return None

    def _damaged(self) -> int:
        """Look for the next picture: it may have begun within a segment of this one, which is cut off."""
        drop = 2 if self._segments <= _SEGMENTS else self._at
        self._skipped += drop
        del self._held[:drop]
        self._inside = False
        return 0

    def _cut(self, end: int) -> bytes:
        whole = self._held[end - 2 : end] == b"\xff\xd9"
        picture = bytes(self._held[:end])
        del self._held[:end]
        self._inside, self._skipped = False, 0
        return picture if whole else without_part_header(picture)


def without_part_header(picture: bytes) -> bytes:
    """The picture without the text of a multipart stream behind it."""
    tail = picture[-_LONGEST_HEADER:]
    match = _PART_HEADER.search(tail)
    return picture[: len(picture) - len(tail) + match.start()] if match else picture
