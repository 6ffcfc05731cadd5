"""WASM by wasm3, for platforms without wasmtime: an interpreter that cannot be stopped, so only ever in a child."""

from __future__ import annotations

from pathlib import Path

from agent.executors.wasm.sandbox import Program, invalid


class Wasm3:
    """Placeholder of the seam until the WASI layer is here."""

    def compile(self, module: Path, target: Path) -> None:
        """See Sandbox."""
        raise invalid("this platform has no WASM engine yet")

    def load(self, compiled: Path) -> Program:
        """See Sandbox."""
        raise invalid("this platform has no WASM engine yet")

    def close(self) -> None:
        """See Sandbox."""
