"""Warnings about expressions that are valid and probably not meant so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.definitions.expressions import compile_expression
from agent.model.pipeline import Pipeline, Step

_CAMERA = ["data", "camera"]


def advice(pipeline: Pipeline) -> list[str]:
    """A line for each comparison of `data.camera`, which is NODE/CAMERA, with a bare name of a camera."""
    return [
        f"{pipeline.name}/{step.name}: data.camera is NODE/CAMERA and never equal to '{name}'; write 'NODE/{name}', "
        f"or ends_with(data.camera, '/{name}')"
        for step in pipeline.steps
        for text in _expressions(step)
        for name in _bare_names(compile_expression(text).parsed)
    ]


def _expressions(step: Step) -> list[str]:
    windows = [w for w in (step.dedupe, step.cooldown) if w is not None]
    return [*([step.when] if step.when else []), *(e for w in windows for e in w.key)]


def _bare_names(node: dict[str, Any]) -> Iterator[str]:
    """The literals without a slash that stand beside `data.camera` in a comparison or in `contains`."""
    children = [c for c in node["children"] if isinstance(c, dict)]
    beside = node["type"] == "comparator" or (node["type"] == "function_expression" and node["value"] == "contains")
    if beside and any(_path(c) == _CAMERA for c in children):
        yield from (v for c in children for v in _literals(c) if isinstance(v, str) and v and "/" not in v)
    for child in children:
        yield from _bare_names(child)


def _literals(node: dict[str, Any]) -> list[Any]:
    if node["type"] == "multi_select_list":
        return [value for child in node["children"] for value in _literals(child)]
    if node["type"] != "literal":
        return []
    return node["value"] if isinstance(node["value"], list) else [node["value"]]


def _path(node: dict[str, Any]) -> list[str]:
    if node["type"] == "field":
        return [node["value"]]
    if node["type"] == "subexpression":
        return [name for child in node["children"] for name in _path(child)]
    return []
