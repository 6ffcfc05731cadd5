"""Limits on what each sender may ask of this node, and counters of what was refused."""

from __future__ import annotations

import logging
import time
from collections import Counter

logger = logging.getLogger(__name__)


class Budget:
    """One sender's share: so many calls at once, and a token bucket of calls per second that holds two
    seconds' worth.
    """

    __slots__ = ("_at", "_tokens", "running")

    def __init__(self, rate: float) -> None:
        self.running = 0
        self._tokens = rate * 2
        self._at = time.monotonic()

    def take(self, rate: float, at_once: int) -> str:
        """Take one call's worth; returns the empty string, or the name of the limit that is reached."""
        now = time.monotonic()
        self._tokens = min(rate * 2, self._tokens + (now - self._at) * rate)
        self._at = now
        if self.running >= at_once:
            return "calls at once"
        if self._tokens < 1:
            return "calls per second"
        self._tokens -= 1
        return ""


class Refusals:
    """Counts what was refused by reason, and logs the first of each reason and subject once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged: set[tuple[str, str]] = set()

    def note(self, reason: str, subject: str = "") -> None:
        """Count one refusal; `subject` (a node id, a verb) is only logged."""
        self.counts[reason] += 1
        if (reason, subject) not in self._logged and len(self._logged) < 1000:
            self._logged.add((reason, subject))
            logger.warning("mesh: refused %s%s", reason, f" from {subject!r}" if subject else "")
