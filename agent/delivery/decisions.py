"""Decisions of a key, as this node keeps them, and the choice between two."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agent.clock import boottime
from agent.delivery.wire import Record


class Decision(NamedTuple):
    """The first event of a key; `at` and `until` are CLOCK_BOOTTIME seconds of this machine."""

    scope: str
    key: str
    first: str
    at: float
    until: float
    present: bool = False
    value: Mapping[str, Any] = MappingProxyType({})


def is_window(scope: str) -> bool:
    """Whether the scope is that of a window; every other scope has the records of a kind of step."""
    return scope.partition(":")[0] in ("dedupe", "cooldown")


def merge(a: Decision, b: Decision) -> Decision:
    """The decision of a key that counts: the valid one; of two valid decisions, for a window the older one, so that its
    first event stays first, for the record of a step the later one."""
    now = boottime()
    if (a.until > now) != (b.until > now):
        return a if a.until > now else b
    if not is_window(a.scope):
        return b if b.at > a.at else a
    return b if b.at < a.at and b.first != a.first else a


def outward(d: Decision) -> Record:
    """A decision as it travels: its age and its remaining seconds instead of this machine's clock."""
    now = boottime()
    return Record(d.scope, d.key, d.first, now - d.at, d.until - now, d.present, dict(d.value))


def inward(r: Record) -> Decision:
    """A travelled decision on this machine's clock."""
    now = boottime()
    return Decision(r.scope, r.key, r.first, now - r.age, now + r.left, r.present, r.value)
