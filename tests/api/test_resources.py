"""The resources in memory have the methods of the real resources, with the same parameters and answers."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from agent.api import Resources, resources
from tests.api import memory

CLASSES = [f.type for f in dataclasses.fields(Resources) if f.type != "Configuration"]
METHODS = [(kind, name) for kind in CLASSES for name in vars(getattr(memory, kind)) if not name.startswith("_")]


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_resource_in_memory_has_the_same_method(kind: str, name: str) -> None:
    wanted = inspect.signature(getattr(getattr(resources, kind), name))
    found = inspect.signature(getattr(getattr(memory, kind), name))
    assert found.parameters == wanted.parameters
    assert str(found.return_annotation).replace("r.", "results.") == wanted.return_annotation
    assert len(METHODS) > 35
