"""One rule per file: `CODES` and `check(facts)`, which yields what is wrong."""

from __future__ import annotations

from agent.health.checks import (
    cameras,
    certificate,
    clock,
    disk,
    engines,
    links,
    membership,
    queue,
    sink,
    sources,
    steps,
)
from agent.health.facts import Facts
from agent.model.health import Warning

CHECKS = (disk, membership, certificate, sink, clock, cameras, steps, engines, queue, sources, links)
CODES = frozenset(code for module in CHECKS for code in module.CODES)
"""All codes that `run_checks` may give: what `HealthRegistry.update` replaces."""


def run_checks(facts: Facts) -> list[Warning]:
    """Everything that is wrong by these facts."""
    return [warning for module in CHECKS for warning in module.check(facts)]
