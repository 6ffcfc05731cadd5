"""Rows of the journal: one for each (event, step, slot) on this node.

`slot` is empty where one node runs the step, and the node's id where `pick: all` runs it on several. Equal keys are the same
work, wherever they come from: that is what makes a second delivery harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from agent.model.alert import Hop
from agent.model.event import Event

End = Literal["delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost"]
ENDS: tuple[End, ...] = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")
MAX_TRACE = 32
"""Most hops that travel with an event; a longer way keeps its first ones and its last."""


class State(IntEnum):
    """Where a row is. Below PLACED this node is the one that must act; from PLACED on another node holds it too."""

    WAITING = 0
    """Made here; dedupe, cooldown and the choice of a node are still to come."""
    SENDING = 1
    """A node was chosen and has not accepted yet."""
    QUEUED = 2
    """To be run here."""
    RAN = 3
    """Ran here; some of its outputs are not placed yet."""
    PLACED = 4
    """Another node accepted it; the copy stays until that node reports it settled."""
    ENDED = 5


@dataclass(slots=True, eq=False)
class Row:
    """One row, in memory while it matters. Times are CLOCK_BOOTTIME seconds of this machine."""

    n: int
    event: Event
    pipeline: str
    version: str
    step: str
    slot: str = ""
    parent: int = 0
    """The row whose run made the event here; 0 where another node delivered it or a source made it."""
    state: State = State.WAITING
    end: End | None = None
    reason: str = ""
    target: str = ""
    attempts: int = 0
    avoid: list[str] = field(default_factory=list)
    deadline: float = 0.0
    root_at: float = 0.0
    """When the root event happened, estimated on this machine's clock from the durations that travelled with it."""
    trace: list[Hop] = field(default_factory=list)
    matched: bool = False
    closed: bool = False
    claims: dict[str, int] = field(default_factory=dict)
    """Nodes that delivered it and wait for a report → what they know (0 nothing, 1 settled, 2 closed)."""
    decided: bool = False
    """Dedupe and cooldown have let it pass."""
    started: float = 0.0
    turn: int = 0
    """Counts deliveries of this row here, so that an answer to an older report is not taken for the newest."""
    looked: float = 0.0
    """When the node that holds it was last asked for it; 0 not since the start. In memory only."""
    free: bool = False
    """The failure used no attempt: nothing was run. In memory only."""
    final: bool = False
    """The program itself said that it failed: no other run will help. In memory only."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same work."""
        return (self.event.id, self.pipeline, self.step, self.slot)

    @property
    def delivered(self) -> bool:
        """Whether another node made the event and delivered it here first."""
        return self.parent == 0 and bool(self.claims)

    @property
    def open(self) -> bool:
        """Whether it still counts as open."""
        return self.state is not State.ENDED

    def hop(self, step: str, node: str, at: float, ran: float) -> list[Hop]:
        """The trace with one more hop that ended at `at` and ran for `ran` seconds."""
        made = Hop(step, node, round(max(0.0, at - self.root_at) * 1e3, 1), round(ran * 1e3, 1), self.event.id)
        return [*self.trace[: MAX_TRACE - 1], made]
