"""An engine that steps need is not there."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("gpu.unused", "docker.missing")


def check(facts: Facts) -> Iterator[Warning]:
    """A GPU asked for and not used; a container step and no container engine."""
    if facts.gpu_wanted and facts.gpu_used is False:
        yield Warning(
            "gpu.unused",
            facts.node,
            "a step asks for a GPU and runs without one",
            "install the GPU's container toolkit, or remove gpus from the step",
        )
    if facts.docker_wanted and facts.docker_available is False:
        yield Warning(
            "docker.missing",
            facts.node,
            "a step needs a container engine and none answers",
            "start Docker, or set docker.host in the configuration",
            "error",
        )
