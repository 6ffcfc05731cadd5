"""The command line: `main` is the entry point, one module per noun, imported only when used.

The rest of the face is for the demo; each name is loaded when it is first used, so that `--help` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent.cli.main import main

if TYPE_CHECKING:
    from agent.cli.output import console, count, escape, print_json, size
    from agent.cli.trace import waterfall

__all__ = ["console", "count", "escape", "main", "print_json", "size", "waterfall"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("agent.cli.trace" if name == "waterfall" else "agent.cli.output"), name)
