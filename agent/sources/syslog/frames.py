"""Messages on a TCP stream: RFC 6587, octet counting or an end of line, told apart at the start of each message.

A message ends after as many bytes as its count says, else at a newline or NUL. A frame that fits neither is counted, and
reading goes on at the next place where a message can start: after an end of line, at a count, or at a priority. Which
messages come out does not depend on how the stream was cut into blocks.
"""

from __future__ import annotations

import re

GARBAGE = 256 * 1024
"""Bytes in a row without the start of a message after which a stream is given up."""
_BOM = rb"(?:\xef\xbb\xbf)?"
_PRIORITY = rb"<\d{1,3}>"
_NUMBER = rb"(?<!\d)[1-9]\d{0,6} "
_SEPARATORS = re.compile(rb"[\r\n\0]*")
_END = re.compile(rb"[\n\0]")
_DIGITS = re.compile(rb"[1-9]\d{0,6}(?:\Z|(?= ))")
_MESSAGE = re.compile(_BOM + _PRIORITY)
_COUNT = re.compile(_NUMBER + _BOM + _PRIORITY)
_START = re.compile(rb"(?:" + _NUMBER + rb")?" + _BOM + _PRIORITY)
_BAD_COUNT = re.compile(rb"\d+ ?(?=" + _BOM + _PRIORITY + rb")")
_PART = re.compile(rb"(?:[1-9]\d{0,6}(?: |\Z))?\xef?\xbb?\xbf?(?:<\d{0,3})?")
"""The beginning of _START."""
_INNER = re.compile(rb"[\n\0]" + _BOM + _PRIORITY + rb"|" + _NUMBER + _BOM + _PRIORITY)
"""Another message: the content of a frame with a right count hardly ever has it."""
_OPEN = re.compile(rb"(?:[\n\0]" + _BOM + rb"<\d{0,3}|" + _NUMBER + rb"(?:<\d{0,3})?)\Z")
"""The beginning of another message at the end of the content."""
_OPEN_STILL = re.compile(rb"(?:[\n\0]|" + _NUMBER + rb")\xef?\xbb?\xbf?(?:<\d{0,3})?")
_MARGIN = 24
"""Bytes that are kept so that a start in two blocks is found: longer than any start and the byte before it."""
_DATE = re.compile(rb"(?:[1-9]|[12]\d|3[01]) [^\x00-\x40]{3,12}\.? (?:\d{4} |\d\d:\d\d)")
"""A day before its month, as in `4 Mar 2026 09:10:11`: a number at the start of a line that is no count."""
_DATE_PART = re.compile(rb"(?:[1-9]|[12]\d|3[01]) [^\x00-\x40]{0,12}(?:\.? (?:\d{0,4}|\d\d:\d?))?")
_MESSAGE_CUT, _GARBAGE_CUT = -1, -2


class Framer:
    """Cuts a stream into messages of at most `limit` bytes; the rest of a longer one is skipped.

    `cut` counts shortened messages and `malformed` bad frames. `lost`: the stream is not syslog, the rest cannot be read.
    """

    def __init__(self, limit: int) -> None:
        self.cut = 0
        self.malformed = 0
        self._limit = limit
        self._buffer = bytearray()
        self._counting = False
        """The stream has counts: bytes between two frames are garbage."""
        self._skip = 0
        """How many bytes are left of a message whose beginning was passed on; below 0: all up to its end of line."""
        self._garbage = 0
        self._ended = False

    @property
    def lost(self) -> bool:
        """Whether nothing like a message came for GARBAGE bytes."""
        return self._garbage > GARBAGE

    @property
    def unsure(self) -> bool:
        """Whether a message waits because its count may be wrong: `settle` then, where nothing more comes for a while."""
        buffer = self._buffer
        return not self._skip and bool(buffer) and (buffer[-1] in b"\n\0" or _suspect(buffer))

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            if message:
                messages.append(message)
        return messages

    def settle(self) -> list[bytes]:
        """The messages in the bytes so far, where a wait for more decides nothing."""
        self._ended = True
        messages = self.feed(b"")
        self._ended = False
        return messages

    def rest(self) -> list[bytes]:
        """The messages that are left at the end of the stream; the last one may lack its end."""
        messages = self.settle()
        rest, self._buffer = bytes(self._buffer), bytearray()
        if not rest or self._skip:
            return messages
        digits = _DIGITS.match(rest)
        if digits is None or (not self._counting and _DATE.match(rest)):
            return [*messages, rest]
        self.malformed += 1
        rest = rest[digits.end() + 1 :]
        return [*messages, rest] if rest else messages

    def _next(self) -> bytes | None:
        """The next message, empty where something was skipped; None when more bytes are needed."""
        if self._skip:
            return self._skip_counted() if self._skip > 0 else self._skip_line()
        buffer = self._buffer
        separators = _SEPARATORS.match(buffer)
        if separators:
            del buffer[: separators.end()]
        if not buffer:
            return None
        digits = _DIGITS.match(buffer)
        if digits is None:
            return self._line()
        if digits.end() == len(buffer):
            return None  # the space is yet to come
        if not self._counting:
            if _DATE.match(buffer):
                return self._line()
            if not self._ended and _DATE_PART.fullmatch(buffer):
                return None
        return self._counted(int(digits[0]), digits.end() + 1)

    # -- messages with a count ----------------------------------------------------------------------------------------

    def _counted(self, length: int, start: int) -> bytes | None:
        taken = min(length, self._limit)
        content = bytes(self._buffer[start : start + taken])
        if not self._counting and not _MESSAGE.match(content) and self._is_line(content, length):
            return self._line()
        whole = len(content) == taken
        if not whole and length <= self._limit and not self._ended:
            return None
        if not whole or length > self._limit:
            if _INNER.search(content, 1) or (not whole and self._ended and content[-1:] in (b"\n", b"\0")):
                return self._miscounted(start)
            if not whole:
                return None
        else:
            follows = self._follows(content, start + length)
            if not follows:
                return self._miscounted(start) if follows is False else None
        del self._buffer[: start + taken]
        self._counting, self._garbage = True, 0
        if length > taken:
            self.cut += 1
            self._skip = length - taken
        return content

    def _is_line(self, content: bytes, length: int) -> bool:
        """Whether a number at the start of a stream, with no priority after it, is the first word of a line."""
        end = _END.search(content, 0, length - 1)
        inner = _INNER.search(content, 1) if length > self._limit else None
        return end is not None and (inner is None or end.start() < inner.end())

    def _follows(self, content: bytes, place: int) -> bool | None:
        """Whether the content of a frame ends here and not within another message; None where more bytes are needed."""
        rest = bytes(self._buffer[place : place + _MARGIN])
        if _INNER.search(content, 1):
            if not rest:
                return True if self._ended else None
            if rest[:1] in (b"\r", b"\n", b"\0") or _START.match(rest):
                return True
            return None if _PART.fullmatch(rest) and not self._ended else False
        if begun := _OPEN.search(content, 1):
            other = content[begun.start() :] + rest
            return None if _OPEN_STILL.fullmatch(other) and not self._ended else not _INNER.match(other)
        return True

    def _miscounted(self, start: int) -> bytes:
        """Go on after the count, which is wrong: the message ends at an end of line or where another one starts."""
        self.malformed += 1
        self._counting = True
        del self._buffer[:start]
        return b""

    def _skip_counted(self) -> bytes | None:
        """Skip the rest of a long message, at most up to another message: its count may be wrong."""
        buffer = self._buffer
        inner = _INNER.search(buffer, 1, min(len(buffer), self._skip))
        if inner is not None:
            self.malformed += 1
            gone, self._skip = inner.start(), 0
        elif len(buffer) >= self._skip:
            gone, self._skip = self._skip, 0
        else:
            gone = max(0, len(buffer) - _MARGIN)
            self._skip -= gone
        del buffer[:gone]
        return None if self._skip else b""

    # -- messages with an end of line ---------------------------------------------------------------------------------

    def _line(self) -> bytes | None:
        buffer = self._buffer
        end = _END.search(buffer, 0, self._limit + 1)
        place = end.start() if end else min(len(buffer), self._limit)
        message = _MESSAGE.match(buffer)
        start = self._other(message.end() if message else 0, place)
        if start is not None:
            self._garbage = 0
            before = self._take(start, 0)
            self.malformed += not message
            return before if message else b""
        if end is not None:
            self._garbage = 0
            bad = _BAD_COUNT.match(buffer, 0, place)
            self.malformed += bool(bad) or (self._counting and not message)
            return self._take(place, 1)[bad.end() if bad else 0 :]
        if len(buffer) <= self._limit:
            return None
        self.cut += 1
        self._skip = _MESSAGE_CUT if message else _GARBAGE_CUT
        self._garbage += self._limit
        return self._take(self._limit, 0)

    def _other(self, message: int, end: int) -> int | None:
        """Where another message starts in a line; only a stream with counts, or garbage, has that.

        `message` is the end of the priority at the start of the line, 0 without one.
        """
        if self._counting:
            found = _START.search(self._buffer, max(message, 1), end)
        else:
            found = None if message else _COUNT.search(self._buffer, 1, end)
        return found.start() if found else None

    def _skip_line(self) -> bytes | None:
        buffer = self._buffer
        end = _END.search(buffer)
        start = self._other(int(self._skip == _MESSAGE_CUT), end.start() if end else len(buffer))
        if start is not None or end is not None:
            del buffer[: start if start is not None else end.end() if end else 0]
            self._skip = self._garbage = 0
            return b""
        gone = max(0, len(buffer) - _MARGIN)
        self._garbage += gone
        del buffer[:gone]
        return None

    def _take(self, size: int, end: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[: size + end]
        return taken


def _suspect(content: bytes | bytearray) -> bool:
    """Whether there is another message, or its beginning, in the content of a frame."""
    return _INNER.search(content, 1) is not None or _OPEN.search(content, 1) is not None
