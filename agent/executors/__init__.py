"""Executors: run a task's program for one event; none of them knows the mesh or a pipeline.

Each part of the face is loaded when it is first used: the worker children pass through here and need nothing of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.executors.docker import DockerEngine
    from agent.executors.filter_check import FilterReport, check_filter
    from agent.executors.process import ProcessEngine
    from agent.executors.wasm import WasmEngine

__all__ = ["DockerEngine", "FilterReport", "ProcessEngine", "WasmEngine", "check_filter"]

_PLACES = {
    "DockerEngine": "agent.executors.docker",
    "FilterReport": "agent.executors.filter_check",
    "ProcessEngine": "agent.executors.process",
    "WasmEngine": "agent.executors.wasm",
    "check_filter": "agent.executors.filter_check",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
