"""Which WASM engine this machine has."""

from __future__ import annotations

import importlib.util
import platform

from agent.executors.wasm.sandbox import Sandbox

_WASMTIME_MACHINES = ("x86_64", "aarch64")
"""What wasmtime's wheels are made for; on others the package installs and then refuses to be imported."""
_SETTINGS = 1
"""Raised when the engine's settings change: compiled forms of other settings do not load."""


def engine_name() -> str:
    """`wasmtime`, or `wasm3` where there is none; imports neither."""
    if platform.machine() in _WASMTIME_MACHINES and importlib.util.find_spec("wasmtime"):
        return "wasmtime"
    return "wasm3"


def fingerprint(name: str) -> str:
    """What compiled forms depend on besides the module: the engine, its version, our settings."""
    from importlib import metadata  # 2 MB that the worker children pass through here without

    try:
        version = metadata.version("wasmtime" if name == "wasmtime" else "pywasm3")
    except metadata.PackageNotFoundError:
        # A frozen build without metadata: the engine itself refuses another version's file, which is then made anew.
        version = "unknown"
    return f"{name}-{version}-{_SETTINGS}"


def make_sandbox(name: str) -> Sandbox:
    """The engine of this name, in this process."""
    if name == "wasmtime":
        from agent.executors.wasm.sandbox_wasmtime import Wasmtime

        return Wasmtime()
    from agent.executors.wasm.sandbox_wasm3 import Wasm3

    return Wasm3()
