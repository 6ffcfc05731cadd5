"""The journal or the blob store is nearly full."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config import format_size
from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("queue.full", "blobs.full")
SHARE = 0.9


def check(facts: Facts) -> Iterator[Warning]:
    """From nine tenths on; a full queue is an error, because senders are refused."""
    if facts.queue_max and facts.queue_open >= SHARE * facts.queue_max:
        yield Warning(
            "queue.full",
            facts.node,
            f"{facts.queue_open} of {facts.queue_max} places for open events are taken",
            "see in edge-agent status which step or node is behind",
            "error" if facts.queue_open >= facts.queue_max else "warning",
        )
    if facts.blobs_quota and facts.blobs_bytes >= 0.98 * facts.blobs_quota:
        yield Warning(
            "blobs.full",
            facts.node,
            f"blobs fill {format_size(facts.blobs_bytes)} of {format_size(facts.blobs_quota)}",
            "raise blobs.quota, or keep photos for a shorter time",
            "info",
        )
