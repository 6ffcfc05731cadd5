"""A program's stderr as log lines."""

from __future__ import annotations

from collections import deque
from typing import Any

from agent.model.task import LogSink

MAX_LINE = 4096
"""Longest log line in bytes; longer lines are cut into several."""
TAIL = 20
"""Lines of stderr that a failure carries, the last ones."""


class StderrLines:
    """Splits bytes into lines for a log sink and keeps the last lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._last: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes, log: LogSink) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line, log)
        while len(self._rest) > MAX_LINE:
            self._emit(self._rest[:MAX_LINE], log)
            self._rest = self._rest[MAX_LINE:]

    def flush(self, log: LogSink) -> None:
        """Pass on an unfinished last line."""
        if self._rest:
            self._emit(self._rest, log)
            self._rest = b""

    def fields(self) -> dict[str, Any]:
        """The fields of a failure: the last lines."""
        return {"stderr": list(self._last)} if self._last else {}

    def _emit(self, line: bytes, log: LogSink) -> None:
        for start in range(0, len(line) or 1, MAX_LINE):
            text = line[start : start + MAX_LINE].decode(errors="replace").rstrip("\r")
            self._last.append(text)
            log(text)
