"""The service's agent is what the API asks for, method by method."""

from __future__ import annotations

import inspect

import pytest

from agent.api.facade import AgentFacade, NodeFacade, PipelineFacade, StatusFacade, ThingsFacade
from agent.node import Agent
from tests.api.memory import MemoryAgent

METHODS = [
    (name, method)
    for part in (StatusFacade, NodeFacade, PipelineFacade, ThingsFacade)
    for name, method in vars(part).items()
    if inspect.isfunction(method) and not name.startswith("_")
]


@pytest.mark.parametrize("kind", [Agent, MemoryAgent])
@pytest.mark.parametrize(("name", "method"), METHODS, ids=[n for n, _ in METHODS])
def test_the_agent_has_the_method_with_the_same_parameters(kind: type, name: str, method: object) -> None:
    made = getattr(kind, name)
    wanted, found = inspect.signature(method), inspect.signature(made)  # type: ignore[arg-type]
    assert [(p.name, p.kind) for p in found.parameters.values()] == [
        (p.name, p.kind) for p in wanted.parameters.values()
    ]
    streams = not inspect.iscoroutinefunction(method)
    assert inspect.iscoroutinefunction(made) != streams


def test_the_parts_together_are_the_facade() -> None:
    assert {n for n, _ in METHODS} <= set(dir(AgentFacade))
    assert len(METHODS) > 35
