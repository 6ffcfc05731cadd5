"""Messages on a TCP stream: RFC 6587, octet counting and newlines, told apart at the start of each message."""

from __future__ import annotations

MAX_DIGITS = 7


class BadFrame(Exception):
    """The stream is not syslog; the rest of it cannot be read."""


class Framer:
    """Cuts a stream into messages of at most `limit` bytes; the rest of a longer one is skipped and counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._skip = 0
        self._skip_line = False
        self.cut = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now; raises BadFrame."""
        self._buffer += data
        messages = []
        while self._buffer:
            message = self._next()
            if message is None:
                break
            if message:
                messages.append(message)
        return messages

    def rest(self) -> bytes:
        """The rest at the end of the stream: a last message without its newline."""
        rest = bytes(self._buffer)
        whole = not self._skip and not self._skip_line and not rest[:1].isdigit()
        return rest if whole else b""

    def _next(self) -> bytes | None:
        """The next message, empty where one was skipped; None when more bytes are needed."""
        buffer = self._buffer
        if self._skip:
            gone = min(self._skip, len(buffer))
            del buffer[:gone]
            self._skip -= gone
            return b""
        if self._skip_line:
            newline = buffer.find(b"\n")
            self._skip_line = newline < 0
            del buffer[: newline + 1 or len(buffer)]
            return b""
        return self._counted() if 0x31 <= buffer[0] <= 0x39 else self._line()

    def _counted(self) -> bytes | None:
        buffer = self._buffer
        space = buffer.find(b" ", 0, MAX_DIGITS + 1)
        digits = bytes(buffer[: space if space >= 0 else MAX_DIGITS])
        if not digits.isdigit() or (space < 0 and len(buffer) > MAX_DIGITS):
            raise BadFrame(f"a message begins with {digits[:20]!r}")
        if space < 0:
            return None
        length = int(digits)
        taken = min(length, self._limit)
        if len(buffer) < space + 1 + taken:
            return None
        message = bytes(buffer[space + 1 : space + 1 + taken])
        del buffer[: space + 1 + taken]
        if length > taken:
            self.cut += 1
            self._skip = length - taken
        return message

    def _line(self) -> bytes | None:
        buffer = self._buffer
        newline = buffer.find(b"\n", 0, self._limit + 1)
        if newline >= 0:
            message = bytes(buffer[:newline])
            del buffer[: newline + 1]
            return message
        if len(buffer) <= self._limit:
            return None
        message = bytes(buffer[: self._limit])
        del buffer[: self._limit]
        self.cut += 1
        self._skip_line = True
        return message
