"""Executors: run a task's program for one event; none of them knows the mesh or a pipeline."""

from agent.executors.docker import DockerEngine
from agent.executors.process import ProcessEngine
from agent.executors.wasm import WasmEngine, check_cuts

__all__ = ["DockerEngine", "ProcessEngine", "WasmEngine", "check_cuts"]
