"""Rows that wait for one thing: a step on this node, or the way to another node."""

from __future__ import annotations

from collections import deque

from agent.clock import boottime
from agent.delivery.rows import Row
from agent.delivery.shelf import Shelf

LATER = 30.0
"""Seconds by which each further shot of a camera stands behind: first photos that come within that time go first."""
MOST_SHOTS = 100
AWAKE = 256
"""Rows of a queue that are kept as they are; those that come later wait packed."""


class RowQueue:
    """First come, first served, except that a further shot of a camera counts as having come LATER seconds later.

    With many arrivals at once the first photo of each camera goes before the second of any. A row counts as having come when it is
    put here, not with its root event: by their age, lines of a backlog would go before an arrival of now.
    """

    def __init__(self) -> None:
        self._rows: dict[int, deque[tuple[float, Row, int]]] = {}
        """By shot, each as they came."""
        self._count = 0
        self._shelf = Shelf()

    def __len__(self) -> int:
        return self._count

    def put(self, row: Row) -> None:
        """Add a row, with its choice of a node as it is now."""
        shot = _shot(row)
        if self._count >= AWAKE:
            row.pack(self._shelf)
        self._rows.setdefault(shot, deque()).append((boottime(), row, row.choice))
        self._count += 1

    def take(self) -> tuple[Row, int]:
        """Remove the row that is next; returns it and its choice when it was put. Raises IndexError for an empty queue."""
        if not self._count:
            raise IndexError("the queue is empty")
        shot = min(self._rows, key=lambda s: (self._rows[s][0][0] + LATER * s, s))
        _, row, choice = self._rows[shot].popleft()
        if not self._rows[shot]:
            del self._rows[shot]
        self._count -= 1
        row.unpack()
        return row, choice

    def lag(self) -> float:
        """Seconds that the oldest row has waited; 0 for an empty queue."""
        return max(0.0, boottime() - min((rows[0][0] for rows in self._rows.values()), default=boottime()))


def _shot(row: Row) -> int:
    """The number of the photo in its series (`data.shot`, from 0); 0 for other events."""
    shot = row.event.data.get("shot")
    return min(max(shot, 0), MOST_SHOTS) if isinstance(shot, int) else 0
