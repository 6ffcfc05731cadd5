"""The command line: `main` is the entry point, one module per noun, imported only when used."""

from __future__ import annotations

from agent.cli.main import main

__all__ = ["main"]
