"""Parts of a multipart/x-mixed-replace stream (MJPEG over HTTP; the grammar is RFC 2046's), bounded."""

from __future__ import annotations

from email.message import Message

from agent.cameras.jpeg import MAX_JPEG

MAX_HEADER = 8 * 1024
"""Longest header of a part, and most bytes between parts."""


def boundary_of(content_type: str) -> bytes | None:
    """The stream's boundary with its two dashes; None where the type is not multipart."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    boundary = message.get_boundary()
    if not boundary:
        return b"--"
    # Many cameras put the dashes into the parameter itself.
    return b"--" + boundary.removeprefix("--").encode("latin-1", "replace")


class Parts:
    """Takes chunks as they arrive and gives the bodies of complete parts; raises ValueError for a malformed stream."""

    def __init__(self, boundary: bytes, limit: int = MAX_JPEG) -> None:
        self._boundary = boundary
        self._limit = limit
        self._held = bytearray()
        self._length: int | None = None
        self._inside = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The bodies that this chunk completes."""
        self._held += chunk
        found = []
        while (body := self._next()) is not None:
            found.append(body)
        return found

    def _next(self) -> bytes | None:
        if not self._inside and not self._header():
            return None
        if self._length is not None:
            if len(self._held) < self._length:
                return None
            return self._cut(self._length)
        end = self._held.find(b"\r\n" + self._boundary)
        if end >= 0:
            return self._cut(end)
        if len(self._held) > self._limit + MAX_HEADER:
            raise ValueError("a picture of the stream is too large")
        return None

    def _header(self) -> bool:
        start = self._held.find(self._boundary)
        end = self._held.find(b"\r\n\r\n", max(start, 0))
        if start < 0 or end < 0:
            if len(self._held) > MAX_HEADER + len(self._boundary):
                raise ValueError("the stream has no parts")
            return False
        if start > MAX_HEADER or end - start > MAX_HEADER:
            raise ValueError("the header of a part is too long")
        self._length = self._content_length(bytes(self._held[start:end]))
        del self._held[: end + 4]
        self._inside = True
        return True

    def _content_length(self, header: bytes) -> int | None:
        for line in header.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                text = value.strip()
                if not text.isdigit() or len(text) > 12 or int(text) > self._limit:
                    raise ValueError("a part of the stream has a bad length")
                return int(text)
        return None

    def _cut(self, end: int) -> bytes:
        body = bytes(self._held[:end])
        del self._held[:end]
        self._inside = False
        self._length = None
        return body
