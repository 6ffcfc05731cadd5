"""Health warnings: coded, with a severity and a remedy. `status` and the sink read the same table."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Warning(msgspec.Struct, frozen=True):
    """One thing that is wrong now. `code` like `camera.silent`; `subject` names the thing; `remedy` says what to do."""

    code: str
    subject: str
    text: str
    remedy: str
    severity: str = "warning"
    node: str = ""
    """The name of the node that reports it, where the table has the warnings of several nodes."""


class HealthCount(msgspec.Struct, array_like=True, frozen=True):
    """How many warnings of one code a node has now; `severity` is that of the worst of them."""

    code: str
    count: int = 1
    severity: str = "warning"


WARNING_CODES = frozenset(
    [
        "blobs.full",
        "camera.gone",
        "camera.silent",
        "certificate.expiring",
        "clock.unsynchronised",
        "config.invalid",
        "config.restart",
        "disk.full",
        "docker.missing",
        "gpu.unused",
        "image.coming",
        "labels.unsigned",
        "mesh.closed",
        "mesh.unlinked",
        "mesh.protocol",
        "node.gone",
        "node.pending",
        "node.removed",
        "operator.no-backup",
        "operator.one",
        "presence.learning",
        "queue.full",
        "service.restarted",
        "sink.denied",
        "sink.disconnected",
        "sink.missing",
        "source.dropped",
        "source.gone",
        "source.missing",
        "source.not-allowed",
        "source.nothing-recognised",
        "source.unread",
        "source.unreadable",
        "state.memory",
        "step.failing",
        "step.no-node",
        "step.not-started",
    ]
)
"""The codes of all warnings; docs/errors.md explains them."""
MAX_CODES = 32
"""Most codes that a node announces, the worst first."""
MAX_CODE = 64
"""Longest code in characters."""
SEVERITIES = ("error", "warning", "info")


def count_codes(warnings: Iterable[Warning]) -> list[HealthCount]:
    """The warnings as codes with counts, worst first, at most MAX_CODES of them."""
    found: dict[str, HealthCount] = {}
    for w in warnings:
        old = found.get(w.code)
        worst = w.severity if old is None else min(old.severity, w.severity, key=SEVERITIES.index)
        found[w.code] = HealthCount(w.code[:MAX_CODE], 1 if old is None else old.count + 1, worst)
    return sorted(found.values(), key=lambda c: (SEVERITIES.index(c.severity), c.code))[:MAX_CODES]


def usable(counts: Iterable[HealthCount]) -> list[HealthCount]:
    """The counts that another node announced, without those that no node makes, at most MAX_CODES of them."""
    good = [c for c in counts if 0 < len(c.code) <= MAX_CODE and c.count > 0 and c.severity in SEVERITIES]
    return good[:MAX_CODES]
