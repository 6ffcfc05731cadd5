"""The result of one event of a row's life: the changes that the journal writes in one transaction, and the next actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from agent.delivery.rows import Row
from agent.model.event import Event


class Do(Enum):
    """The next action for a row; each part ignores a row that has moved on meanwhile."""

    ROUTE = "route"
    """Decide, and choose a node."""
    SEND = "send"
    """Send it to `row.target`."""
    RUN = "run"
    """Run it here."""
    REPORT = "report"
    """Report it to the nodes that delivered it."""
    SHOW = "show"
    """Show the row's event to the followers of events."""


class Action(NamedTuple):
    """One thing to do, after so many seconds."""

    do: Do
    row: Row
    after: float = 0.0


@dataclass(slots=True)
class Changes:
    """Row changes and follow-ups; several events may share one, and then one transaction."""

    events: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    """Id → (id, root, body) of the events of new rows."""
    written: dict[int, Row] = field(default_factory=dict)
    """Rows to be written as they are when the journal gets the changes, by number."""
    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(pipeline, step, accepted or end) → the number to add."""
    kept: dict[str, float] = field(default_factory=dict)
    """Photos to keep for a match → until when (CLOCK_BOOTTIME)."""
    position: tuple[str, Any] | None = None
    """A source's stream and its new reading position."""
    actions: list[Action] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    """Rows that need their blobs no longer."""
    shown: list[Event] = field(default_factory=list)
    """Events that no step takes: they have no rows, and followers of events see them."""

    def encode(self, rows: list[Row]) -> None:
        """Take the events of new rows; raises ValueError for one that cannot be stored, before anything has changed."""
        for row in rows:
            event = row.event
            self.events[event.id] = (event.id, event.root or event.id, event.encode())

    def write(self, row: Row) -> None:
        """Have the row written."""
        self.written[row.n] = row

    def then(self, do: Do, row: Row, after: float = 0.0) -> None:
        """Add a next action."""
        self.actions.append(Action(do, row, after))

    def released(self) -> list[str]:
        """The CIDs that the closed rows name."""
        return [blob.cid for row in self.closed for blob in row.event.blobs()]

    @property
    def on_disk(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.written or self.counts or self.kept or self.position)
