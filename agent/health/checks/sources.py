"""A log cannot be read, or was rotated away before it was read."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config import format_size
from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("source.unreadable", "source.unread")


def check(facts: Facts) -> Iterator[Warning]:
    """One warning per source."""
    for source in facts.sources:
        if not source.ok:
            yield Warning(
                "source.unreadable",
                source.name,
                f"{source.name} cannot be read" + (f": {source.text}" if source.text else ""),
                "check sources.tail and the file's owner and mode",
                "error",
            )
        if source.unread:
            yield Warning(
                "source.unread",
                source.name,
                f"{format_size(source.unread)} of {source.name} were rotated away unread",
                "see in edge-agent status which step is behind, or rotate the log later",
            )
