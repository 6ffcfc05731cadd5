"""The clock is not kept by a time service."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("clock.unsynchronised",)


def check(facts: Facts) -> Iterator[Warning]:
    """Only shown times suffer: no rule of the mesh compares two clocks."""
    if facts.clock_synchronised is False:
        yield Warning(
            "clock.unsynchronised",
            facts.node,
            "the clock is not synchronised; event times may be wrong",
            "start a time service (systemd-timesyncd, chrony, ntpd)",
            "info",
        )
