"""This node's certificate runs out."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("certificate.expiring",)
WARN_DAYS = 60


def check(facts: Facts) -> Iterator[Warning]:
    """60 days left is a warning (renewal starts at 200), expired an error."""
    days = facts.certificate_days
    if days is None or days > WARN_DAYS:
        return
    text = f"the certificate ends in {days:.0f} days" if days > 0 else "the certificate has expired"
    yield Warning(
        "certificate.expiring",
        facts.node,
        text,
        "bring this node and an operator into contact: it renews by itself",
        "warning" if days > 0 else "error",
    )
