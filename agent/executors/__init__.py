"""Executors: run a task's program for one event; none of them knows the mesh or a pipeline."""

from agent.executors.docker import DockerEngine
from agent.executors.filter_check import FilterReport, check_filter
from agent.executors.process import ProcessEngine
from agent.executors.wasm import WasmEngine

__all__ = ["DockerEngine", "FilterReport", "ProcessEngine", "WasmEngine", "check_filter"]
