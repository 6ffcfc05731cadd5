"""A program's stderr as log lines."""

from __future__ import annotations

from collections import deque
from typing import Any

from agent.model.task import LogSink

MAX_LINE = 4096
"""Longest log line in bytes; longer ones are cut into several."""
TAIL = 20
"""How many of the last lines a failure carries."""


class StderrLines:
    """Splits bytes into lines for a sink and remembers the last ones."""

    def __init__(self) -> None:
        self._rest = b""
        self._last: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes, log: LogSink) -> None:
        """Take bytes as they come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line, log)
        while len(self._rest) > MAX_LINE:
            self._emit(self._rest[:MAX_LINE], log)
            self._rest = self._rest[MAX_LINE:]

    def flush(self, log: LogSink) -> None:
        """Give out what has no newline yet."""
        if self._rest:
            self._emit(self._rest, log)
            self._rest = b""

    def fields(self) -> dict[str, Any]:
        """What a failure carries in its fields."""
        return {"stderr": list(self._last)} if self._last else {}

    def _emit(self, line: bytes, log: LogSink) -> None:
        for start in range(0, len(line) or 1, MAX_LINE):
            text = line[start : start + MAX_LINE].decode(errors="replace").rstrip("\r")
            self._last.append(text)
            log(text)
