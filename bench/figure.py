"""What one benchmark says: a figure, its goal, and what bounds it."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from typing import Any, Literal

import msgspec


class Figure(msgspec.Struct, kw_only=True):
    """One measured figure against its goal; both have the same `unit`."""

    name: str
    what: str
    figure: float
    goal: float
    unit: str
    sense: Literal["at least", "at most"]
    bound_by: str
    """A sentence: what bounds it, found with a profile."""
    details: dict[str, Any] = {}
    """What stands beside it: the peer's figure, the spread, numbers of samples."""

    @property
    def ratio(self) -> float:
        """How many times better than the goal: 1 and above is reached."""
        if not self.figure or not self.goal:
            return math.inf if self.sense == "at most" else 0.0
        return self.figure / self.goal if self.sense == "at least" else self.goal / self.figure

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.ratio >= 1.0


class Missing(msgspec.Struct, kw_only=True):
    """A benchmark that could not be run, and why."""

    name: str
    why: str


class Result(msgspec.Struct, kw_only=True):
    """What one benchmark's process gave, with the machine's load (1 minute) before and after."""

    benchmark: str
    seconds: float
    load: tuple[float, float]
    figures: list[Figure] = []
    missing: list[Missing] = []


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed (nearest rank); raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Number, best, median, p99 and worst of some durations."""
    return {
        "n": len(values),
        "min": round(min(values), digits),
        "p50": round(statistics.median(values), digits),
        "p99": round(percentile(values, 99), digits),
        "max": round(max(values), digits),
    }


def load() -> float:
    """The machine's load average of the last minute."""
    return round(os.getloadavg()[0], 2)
