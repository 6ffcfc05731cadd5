"""A node that is alive has no direct link to this one."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("mesh.unlinked",)


def check(facts: Facts) -> Iterator[Warning]:
    """Traffic then goes through others: slower, but whole."""
    for name in facts.unlinked:
        yield Warning(
            "mesh.unlinked",
            name,
            f"no direct link to {name}; others relay",
            "let one of the two reach the other's mesh port, or set mesh.join",
            "info",
        )
