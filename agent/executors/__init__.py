"""Executors: run a task's program for one event; they know neither the mesh nor pipelines.

Each name of the face is loaded when it is first used: the worker processes import this package and need none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.executors.docker.container import OWNER_LABEL
    from agent.executors.docker.executor import DockerExecutor
    from agent.executors.docker.images import ImageFacts, Images
    from agent.executors.filter_check import FilterReport, check_filter
    from agent.executors.filter_explain import ExplainedLine, Explanation, OpenFilter, explain_lines
    from agent.executors.log_lines import NoLog
    from agent.executors.policy import Policy
    from agent.executors.pool import WORKER_REST
    from agent.executors.process.executor import ProcessExecutor
    from agent.executors.programs import Executors
    from agent.executors.wasm.available import engine_name
    from agent.executors.wasm.executor import WasmExecutor
    from agent.executors.wasm.probe import check_engine

__all__ = [
    "OWNER_LABEL", "WORKER_REST", "DockerExecutor", "Executors", "ExplainedLine", "Explanation", "FilterReport",
    "ImageFacts", "Images", "NoLog", "OpenFilter", "Policy", "ProcessExecutor", "WasmExecutor", "check_engine",
    "check_filter", "engine_name",
    "explain_lines",
]  # fmt: skip

_MODULES = {
    "OWNER_LABEL": "docker.container",
    "WORKER_REST": "pool",
    "DockerExecutor": "docker.executor",
    "Executors": "programs",
    "ExplainedLine": "filter_explain",
    "Explanation": "filter_explain",
    "FilterReport": "filter_check",
    "ImageFacts": "docker.images",
    "Images": "docker.images",
    "NoLog": "log_lines",
    "OpenFilter": "filter_explain",
    "Policy": "policy",
    "ProcessExecutor": "process.executor",
    "WasmExecutor": "wasm.executor",
    "check_engine": "wasm.probe",
    "check_filter": "filter_check",
    "engine_name": "wasm.available",
    "explain_lines": "filter_explain",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
