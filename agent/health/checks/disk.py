"""The disk that holds the state is nearly full."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config import format_size
from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("disk.full",)
LEAST = 200 << 20
SHARE = 0.03


def check(facts: Facts) -> Iterator[Warning]:
    """Less than 3 % and less than 200 MiB free is a warning, less than 20 MiB an error."""
    free, total = facts.disk_free, facts.disk_total
    if free is None or not total or free >= LEAST or free >= max(SHARE * total, 20 << 20):
        return
    yield Warning(
        "disk.full",
        facts.state or facts.node,
        f"only {format_size(free)} are free on the disk of {facts.state or 'the state folder'}",
        "free some space, or lower blobs.quota in the configuration",
        "error" if free < 20 << 20 else "warning",
    )
