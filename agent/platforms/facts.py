"""The structs of this package: architecture, host and platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Architecture(msgspec.Struct, frozen=True):
    """A kind of processor: the name in the `arch` label, the outputs of `uname -m`, and its WASM engine.

    `engine` is `wasmtime`, or `wasm3` (always in a child process) where wasmtime has no wheel.
    """

    name: str
    machines: tuple[str, ...]
    engine: str


class Host(msgspec.Struct, frozen=True):
    """The input of the rules: the root of the file system, the environment, and the configured address of Docker."""

    root: Path
    environ: Mapping[str, str] = {}
    docker_host: str = ""

    def path(self, absolute: str) -> Path:
        """An absolute path of this host."""
        return self.root / absolute.lstrip("/")

    def exists(self, absolute: str) -> bool:
        """Whether the path exists and is accessible."""
        try:
            return self.path(absolute).exists()
        except OSError:
            return False


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The abilities of this hardware and its system.

    `log_source` is the log of `tail: auto`: a path, `journald` or `logread`; empty where there is none. `state` is the
    folder of files that must survive a power cut, `volatile` of the rest (the same folder except on OpenWrt), `run` of
    the socket.
    """

    arch: str
    engine: str
    openwrt: bool
    log_source: str
    state: Path
    volatile: Path
    run: Path
    labels: dict[str, str]
    gpus: int = 0
