"""The condition of each step on this node: its state, its last error and its hint."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from agent.errors import EdgeError

StepState = Literal["idle", "starting", "ready", "not-started", "failing"]
"""`idle`: not needed here yet. `starting`: its first start is under way. `ready`: it takes events. `not-started`: it could not
be started and is tried again. `failing`: its last event failed or could not be run, or its program ended before it was ready."""
RUNS_KEPT = 32


@dataclass(eq=False)
class Condition:
    """One step of one version. `failures` counts failed starts, or failed events, in a row."""

    state: StepState = "starting"
    error: str = ""
    hint: str = ""
    failures: int = 0
    code: str = ""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RUNS_KEPT))
    """Seconds that the last runs took."""

    def failed(self, error: EdgeError, state: StepState = "failing") -> None:
        """One more failure of this kind."""
        self.failures = self.failures + 1 if self.state == state else 1
        self.state, self.error, self.hint, self.code = state, error.message, error.hint, error.code

    def works(self) -> None:
        """The program has started, or an event ran."""
        self.state, self.error, self.hint, self.code, self.failures = "ready", "", "", "", 0


class StepNow(msgspec.Struct, frozen=True):
    """A step on this node now, over all its versions that still have events here.

    `run_ms` is the mean of its last runs, `lag_s` the seconds that its oldest waiting event has waited.
    """

    state: StepState
    error: str = ""
    hint: str = ""
    failures: int = 0
    running: int = 0
    queued: int = 0
    run_ms: float | None = None
    lag_s: float = 0.0
    code: str = ""
    """The code of the error."""
