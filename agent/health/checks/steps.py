"""A step fails again and again, or no node can run it."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("step.failing", "step.no-node")
STREAK = 3


def check(facts: Facts) -> Iterator[Warning]:
    """Three failed events in a row, or a step whose selector matches no live node."""
    for failing in facts.failing:
        if failing.streak >= STREAK:
            name = f"{failing.pipeline}/{failing.step}"
            yield Warning(
                "step.failing",
                name,
                f"{name} failed {failing.streak} times in a row: {failing.error}",
                f"look at edge-agent logs {name}",
                "error",
            )
    for name in facts.steps_without_node:
        yield Warning(
            "step.no-node",
            name,
            f"no live node can run {name}",
            "look at its where and at edge-agent nodes",
        )
