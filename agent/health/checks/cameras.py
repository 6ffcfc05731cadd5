"""A camera gives no pictures."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("camera.silent",)


def check(facts: Facts) -> Iterator[Warning]:
    """One warning per camera whose last use failed."""
    for camera in facts.cameras:
        if not camera.ok:
            yield Warning(
                "camera.silent",
                camera.name,
                f"camera {camera.name} ({camera.kind}) gives no pictures",
                f"look at edge-agent camera test {camera.name}",
            )
