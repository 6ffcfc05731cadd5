"""WASM programs: WASI preview 1 commands, a fresh instance per event or batch.

The face is loaded when it is first used: the worker children pass through here and need nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.executors.wasm.executor import WasmEngine

__all__ = ["WasmEngine"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agent.executors.wasm import engine

    return getattr(engine, name)
