"""A program's output as log lines."""

from __future__ import annotations

from collections import deque
from typing import Any

from agent.errors import StepFailed
from agent.model.task import StepLog, Stream

MAX_LINE = 4096
"""Longest log line in bytes; longer lines are cut into several."""
TAIL = 20
"""Lines of stderr that a failure carries, the last of them."""


def log_failure(log: StepLog, error: StepFailed, event: str) -> None:
    """Write one line: the message, and the wrong line of the program where the failure has it."""
    line = f": {error.fields['line']}" if "line" in error.fields else ""
    log.line(error.message + line, "agent", event)


class NoLog:
    """A StepLog that drops its lines."""

    def begin(self) -> StepLog:
        """See StepLog."""
        return self

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """Drop it."""


class LogLines:
    """Splits the bytes of one stream into lines for a log and keeps the last lines."""

    def __init__(self, log: StepLog, stream: Stream) -> None:
        self._log = log
        self._stream: Stream = stream
        self._rest = b""
        self._last: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes, event: str = "") -> None:
        """Take the next bytes, written while the program had this event."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line, event)
        if len(self._rest) > MAX_LINE:
            whole = (len(self._rest) - 1) // MAX_LINE * MAX_LINE
            self._emit(self._rest[:whole], event)
            self._rest = self._rest[whole:]

    def flush(self, event: str = "") -> None:
        """Pass on an unfinished last line."""
        if self._rest:
            self._emit(self._rest, event)
            self._rest = b""

    def fields(self) -> dict[str, Any]:
        """The fields of a failure: the last lines."""
        return {self._stream: list(self._last)} if self._last else {}

    def _emit(self, line: bytes, event: str) -> None:
        for start in range(0, len(line) or 1, MAX_LINE):
            text = line[start : start + MAX_LINE].decode(errors="replace").rstrip("\r")
            self._last.append(text)
            self._log.line(text, self._stream, event)
