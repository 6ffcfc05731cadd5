"""Log lines of steps: the last ones are kept here, and all of them are published to followers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

import msgspec

from agent.errors import EdgeError
from agent.model.event import now
from agent.model.pipeline import execution
from agent.model.task import StepLog, Stream

KEPT = 200
"""Lines of each step that are kept."""
MAX_LINE = 4096
"""Characters of a line; the rest is cut off."""


class StepLogs:
    """The log lines of the steps that run here. `publish(execution, line)` may raise EdgeError; `hear` gets each line."""

    def __init__(
        self, publish: Callable[[str, str], None], hear: Callable[[str, str, str], None] = lambda *_: None
    ) -> None:
        self._publish = publish
        self._hear = hear
        self._kept: dict[tuple[str, str], deque[dict[str, str]]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.unpublished = 0

    def of(self, pipeline: str, version: str, step: str) -> StepLog:
        """The log of a step."""
        return _OneStep(self, pipeline, step)

    def write(self, pipeline: str, step: str, line: str) -> None:
        """Keep and publish one line."""
        row = {"time": now(), "step": step, "line": line[:MAX_LINE]}
        self._kept[pipeline, step].append(row)
        self._hear(pipeline, step, line)
        try:
            self._publish(execution(pipeline, step), msgspec.json.encode(row).decode())
        except EdgeError:
            self.unpublished += 1

    def last(self, pipeline: str, step: str, lines: int) -> list[dict[str, str]]:
        """The last lines of a step (of all steps where it is empty), oldest first."""
        rows = [r for (p, s), kept in self._kept.items() if p == pipeline and step in ("", s) for r in kept]
        return sorted(rows, key=lambda r: r["time"])[-lines:]


class _OneStep:
    """A StepLog."""

    def __init__(self, logs: StepLogs, pipeline: str, step: str) -> None:
        self._logs = logs
        self._step = (pipeline, step)

    def begin(self) -> None:
        """Executions are not told apart yet."""

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """See StepLog."""
        self._logs.write(*self._step, text)
