"""Limits on the calls of each sender and the size of messages, and counters of refused calls."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from agent.rates import Bucket

logger = logging.getLogger(__name__)


def fitting(sizes: Iterable[int], limit: int) -> int:
    """How many of the items with these sizes fit together into one message of `limit` bytes, at least one."""
    size = count = 0
    for each in sizes:
        size += each
        if count and size > limit:
            break
        count += 1
    return count


class Budget:
    """One sender's share: `at_once` calls that run, and `rate` calls a second with bursts of two seconds."""

    __slots__ = ("_at_once", "_calls", "running")

    def __init__(self, rate: float, at_once: int) -> None:
        self.running = 0
        self._at_once = at_once
        self._calls = Bucket(rate, rate * 2)

    def take(self) -> str:
        """Take one call; returns the empty string, or the name of the limit that is reached."""
        if self.running >= self._at_once:
            return "calls at once"
        return "calls per second" if self._calls.take() else ""


class Refusals:
    """Counts refusals by reason, and logs the first of each reason and subject."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged: set[tuple[str, str]] = set()

    def note(self, reason: str, subject: str = "") -> None:
        """Count one refusal; `subject` (a node id, a verb) is only logged."""
        self.counts[reason] += 1
        if (reason, subject) not in self._logged and len(self._logged) < 1000:
            self._logged.add((reason, subject))
            logger.warning("mesh: refused %s%s", reason, f" from {subject!r}" if subject else "")
