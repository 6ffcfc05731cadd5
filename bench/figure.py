"""The result of a benchmark: figures with their goals and bottlenecks."""

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
    """The bottleneck, found with a profile, in a sentence."""
    details: dict[str, Any] = {}
    """Further numbers: the peer's figure, the spread, numbers of samples."""

    @property
    def ratio(self) -> float:
        """The figure divided by the goal, so that 1 and above is reached."""
        if not self.figure or not self.goal:
            return math.inf if self.sense == "at most" else 0.0
        return self.figure / self.goal if self.sense == "at least" else self.goal / self.figure

    @property
    def reached(self) -> bool:
        """True if the goal is reached."""
        return self.ratio >= 1.0


class Missing(msgspec.Struct, kw_only=True):
    """A benchmark that could not be run, and why."""

    name: str
    why: str


class Result(msgspec.Struct, kw_only=True):
    """The result of one benchmark's process, with the machine's load (1 minute) before and after."""

    benchmark: str
    seconds: float
    load: tuple[float, float]
    figures: list[Figure] = []
    missing: list[Missing] = []


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed (nearest rank); raises ValueError without values."""
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
