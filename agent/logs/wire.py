"""The messages of the verb `log.read`, as msgpack; `docs/protocol.md` has their tables."""

from __future__ import annotations

import msgspec

MAX_LINES = 2000
"""Most lines in one answer."""
MAX_ANSWER = 1 << 20
"""Most bytes of text in one answer."""
MAX_WAIT = 20.0
"""Longest time in seconds that a request waits for a line."""


class ReadRequest(msgspec.Struct, array_like=True):
    """Lines of a step after the number `after`; empty `step`: of all steps of the pipeline, each with its own numbers in `after`.

    `tail` asks for the newest lines only, `since` for lines of the last `since` seconds (0: all). Without a line the answer
    waits at most `wait` seconds.
    """

    pipeline: str
    step: str = ""
    after: dict[str, int] = {}
    tail: int = 0
    since: float = 0.0
    wait: float = 0.0


class LogLine(msgspec.Struct, array_like=True):
    """One line. `n` counts the lines of the step on its node; `time` is RFC 3339 by the node's clock."""

    step: str
    n: int
    time: str
    stream: str
    text: str
    event: str = ""
    execution: str = ""


class LogLines(msgspec.Struct, array_like=True):
    """The lines, oldest first, and by step the number to ask from next. A number that is left out is a line that was lost."""

    lines: list[LogLine]
    next: dict[str, int] = {}
