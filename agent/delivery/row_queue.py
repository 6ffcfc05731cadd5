"""Rows that wait for one thing: a step on this node, or the way to another node."""

from __future__ import annotations

import heapq
from itertools import count

from agent.clock import boottime
from agent.delivery.rows import Row

LATER = 30.0
"""Seconds by which each further shot of a camera stands behind: first photos that come within that time go first."""
MOST_SHOTS = 100


class RowQueue:
    """First come, first served, except that a further shot of a camera counts as having come LATER seconds later.

    With many arrivals at once the first photo of each camera goes before the second of any. A row counts as having come when it is
    put here, not with its root event: by their age, lines of a backlog would go before an arrival of now.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, int, float, Row, int]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: Row) -> None:
        """Add a row, with its choice of a node as it is now."""
        now = boottime()
        heapq.heappush(self._rows, (now + LATER * _shot(row), next(self._numbers), now, row, row.choice))

    def take(self) -> tuple[Row, int]:
        """Remove the row that is next; returns it and its choice when it was put. Raises IndexError for an empty queue."""
        return heapq.heappop(self._rows)[3:]

    def lag(self) -> float:
        """Seconds that the oldest row has waited; 0 for an empty queue."""
        return max(0.0, boottime() - min((at for _, _, at, _, _ in self._rows), default=boottime()))


def _shot(row: Row) -> int:
    """The number of the photo in its series (`data.shot`, from 0); 0 for other events."""
    shot = row.event.data.get("shot")
    return min(max(shot, 0), MOST_SHOTS) if isinstance(shot, int) else 0
