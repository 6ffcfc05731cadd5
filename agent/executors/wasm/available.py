"""The WASM engine of this machine."""

from __future__ import annotations

import importlib.util
import platform

from agent.executors.wasm.sandbox import Sandbox

_WASMTIME_MACHINES = ("x86_64", "aarch64")
"""The machines that wasmtime has wheels for; on others the package installs and its import fails."""
_SETTINGS = 2
"""Increased when the engine's settings change: compiled forms of other settings do not load."""


def engine_name() -> str:
    """`wasmtime`, or `wasm3` where there is none; imports neither."""
    if platform.machine() in _WASMTIME_MACHINES and importlib.util.find_spec("wasmtime"):
        return "wasmtime"
    return "wasm3"


def fingerprint(name: str) -> str:
    """The engine, its version and our settings: compiled forms depend on them besides the module."""
    from importlib import metadata  # 2 MB; workers import this module and do not need it

    try:
        version = metadata.version("wasmtime" if name == "wasmtime" else "pywasm3")
    except metadata.PackageNotFoundError:
        # A frozen build without metadata: the engine refuses a file of another version, which is then compiled again.
        version = "unknown"
    return f"{name}-{version}-{_SETTINGS}"


def make_sandbox(name: str) -> Sandbox:
    """A sandbox with the engine of this name, in this process."""
    if name == "wasmtime":
        from agent.executors.wasm.sandbox_wasmtime import Wasmtime

        return Wasmtime()
    from agent.executors.wasm.sandbox_wasm3 import Wasm3

    return Wasm3()
