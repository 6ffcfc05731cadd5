"""Executors: run a task's program for one event; none of them knows the mesh or a pipeline."""

from agent.executors.wasm import WasmEngine, check_cuts

__all__ = ["WasmEngine", "check_cuts"]
