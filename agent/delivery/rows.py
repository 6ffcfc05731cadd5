"""Rows of the journal: one for each (event, step, slot) on this node, as every module but `lifecycle.py` sees them.

`slot` is empty where one node runs the step, and the node's id where `pick: all` runs it on several. Equal keys are the same
work, from any node, so a second delivery is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal, Protocol

from agent.delivery.shelf import Shelf
from agent.model.alert import Hop
from agent.model.event import Event

End = Literal["delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost"]
ENDS: tuple[End, ...] = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")
Key = tuple[str, str, str, str]
"""Event id, pipeline, step, slot."""
MAX_TRACE = 32
"""Most hops that travel with an event; a longer way keeps its first hops and its last."""


class State(IntEnum):
    """Where a row is. Below PLACED this node must act next; from PLACED on another node holds the row too."""

    WAITING = 0
    """Made here; dedupe, cooldown and the choice of a node come next."""
    SENDING = 1
    """A node was chosen and has not accepted yet."""
    QUEUED = 2
    """To be run here."""
    RAN = 3
    """Ran here; some of its outputs are not placed yet."""
    PLACED = 4
    """Another node accepted it; the copy stays until that node reports it settled."""
    ENDED = 5
    """It ended in one of ENDS. Only a repeated delivery of a failed row takes it up again."""


TRANSITIONS: Mapping[State, frozenset[State]] = {
    # From WAITING: a node is chosen (another one, this one), or the row ends before that.
    State.WAITING: frozenset({State.WAITING, State.SENDING, State.QUEUED, State.ENDED}),
    # From SENDING: refused or not reached, chosen again after a restart, taken up here after a delivery, accepted there, ended.
    State.SENDING: frozenset({State.WAITING, State.SENDING, State.QUEUED, State.PLACED, State.ENDED}),
    # From QUEUED: tried again here, given to others, ran, ended.
    State.QUEUED: frozenset({State.QUEUED, State.WAITING, State.RAN, State.ENDED}),
    # From RAN: every output is placed or ended.
    State.RAN: frozenset({State.ENDED}),
    # From PLACED: asked for again, given to another node, taken up here after a delivery, reported or lost.
    State.PLACED: frozenset({State.SENDING, State.WAITING, State.QUEUED, State.ENDED}),
    # From ENDED: only a repeated delivery.
    State.ENDED: frozenset({State.QUEUED}),
}
"""Every legal change of a row's state."""


class Row(Protocol):
    """A read-only view of one row: `lifecycle.py` alone writes. Times are CLOCK_BOOTTIME seconds of this machine."""

    # The work: what is to be done, and where the event came from.

    @property
    def n(self) -> int:
        """Number in this node's journal."""

    @property
    def event(self) -> Event:
        """The event that the step runs on."""

    @property
    def pipeline(self) -> str:
        """Name of the pipeline."""

    @property
    def version(self) -> str:
        """Version of the pipeline under which the row runs to its end."""

    @property
    def step(self) -> str:
        """Name of the step."""

    @property
    def slot(self) -> str:
        """Empty where one node runs the step; the node's id for `pick: all`."""

    @property
    def parent(self) -> int:
        """The row whose run made the event here; 0 where another node delivered it or a source made it."""

    @property
    def trace(self) -> tuple[Hop, ...]:
        """The hops of the event until now."""

    # Where it is.

    @property
    def state(self) -> State:
        """Where the row is; see `TRANSITIONS`."""

    @property
    def end(self) -> End | None:
        """How it ended; None while it is open."""

    @property
    def reason(self) -> str:
        """Why it ended so, or why the last try failed."""

    @property
    def target(self) -> str:
        """Id of the node that runs it; empty while none is chosen."""

    @property
    def decided(self) -> bool:
        """Dedupe and cooldown have accepted it."""

    # Tries.

    @property
    def attempts(self) -> int:
        """Runs that were counted against the step's `attempts`."""

    @property
    def avoid(self) -> tuple[str, ...]:
        """Nodes that failed or refused it: others are tried first."""

    @property
    def free(self) -> bool:
        """The failure used no attempt: nothing was run. In memory only."""

    @property
    def final(self) -> bool:
        """The program itself said that it failed: no other run will help. In memory only."""

    # Times.

    @property
    def deadline(self) -> float:
        """When it expires."""

    @property
    def root_at(self) -> float:
        """When the root event happened, estimated on this clock from the durations that travelled with it."""

    @property
    def started(self) -> float:
        """When its last run here began. In memory only."""

    @property
    def choice(self) -> int:
        """Counts how often it was given to a target, so that an answer to an earlier delivery is not taken for the newest.

        In memory only.
        """

    @property
    def looked(self) -> float:
        """When its holder was last asked for it; 0 not since the start. In memory only."""

    @property
    def asked_again(self) -> bool:
        """It is being sent to a node that has accepted it before. In memory only."""

    # Reports, and the branch below the row.

    @property
    def claims(self) -> Mapping[str, int]:
        """Nodes that delivered it and wait for a report → what they know (0 nothing, 1 settled, 2 closed)."""

    @property
    def turn(self) -> int:
        """Counts deliveries of this row here, so that an answer to an older report is not taken for the newest."""

    @property
    def matched(self) -> bool:
        """Its branch made an alert: its photos are kept longer."""

    @property
    def closed(self) -> bool:
        """Its whole branch has ended, on every node."""

    # Derived.

    @property
    def key(self) -> Key:
        """Rows with equal keys are the same work."""

    @property
    def delivered(self) -> bool:
        """Whether another node made the event and delivered it here first."""

    @property
    def open(self) -> bool:
        """Whether it still counts as open."""

    # Memory: neither call changes what can be read.

    def pack(self, shelf: Shelf) -> None:
        """Keep the event and the trace encoded: the row waits for long. Each look at them then decodes them."""

    def unpack(self) -> None:
        """Keep them decoded again."""


def hop(row: Row, step: str, node: str, at: float, ran: float) -> tuple[Hop, ...]:
    """The row's trace with one more hop that ended at `at` and ran for `ran` seconds."""
    made = Hop(step, node, round(max(0.0, at - row.root_at) * 1e3, 1), round(ran * 1e3, 1), row.event.id)
    return (*row.trace[: MAX_TRACE - 1], made)
