"""The words of this house."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class Architecture(msgspec.Struct, frozen=True):
    """A kind of processor: the name in the `arch` label, what `uname -m` says, and its WASM engine.

    `engine` is `wasmtime`, or `wasm3` (always in a child process) where wasmtime has no wheel.
    """

    name: str
    machines: tuple[str, ...]
    engine: str


class Host(msgspec.Struct, frozen=True):
    """What the rules look at: the root of the file system, the environment, and the engine's address if configured."""

    root: Path
    environ: Mapping[str, str] = {}
    docker_host: str = ""

    def path(self, absolute: str) -> Path:
        """An absolute path of this host."""
        return self.root / absolute.lstrip("/")

    def exists(self, absolute: str) -> bool:
        """Whether the path exists and may be looked at."""
        try:
            return self.path(absolute).exists()
        except OSError:
            return False


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What this hardware and its system can do.

    `log_source` is what `tail: auto` reads: a path, `journald` or `logread`; empty where there is none.
    `state` keeps what must survive a power cut, `volatile` the rest (the same folder except on
    OpenWrt), `run` the socket.
    """

    arch: str
    engine: str
    openwrt: bool
    log_source: str
    state: Path
    volatile: Path
    run: Path
    labels: dict[str, str]
