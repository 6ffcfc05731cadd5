"""Compiled modules on disk: compiled once, in a child, named by the module's hash and the engine's version."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path

from agent.errors import ConfigError
from agent.executors.wasm.available import fingerprint
from agent.executors.wasm.sandbox import invalid
from agent.executors.wasm.worker import compile_in_child

MAX_MODULE = 32 << 20
"""Largest module in bytes."""


class CompileCache:
    """`<folder>/<sha256>-<engine and version>.bin`.

    Compiled forms are native code and are trusted, so the folder must belong to this user alone; otherwise raises
    ConfigError.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            raise ConfigError(f"{folder} is not a folder of this user", hint="remove it; the agent creates it again")
        folder.chmod(0o700)
        self._folder = folder
        self._engine = engine
        self._locks: dict[Path, asyncio.Lock] = {}
        self._known: dict[tuple[Path, int, int, int], Path] = {}

    async def compiled(self, module: Path, *, fresh: bool = False) -> Path:
        """The compiled form of `module`, made now if missing or `fresh`; raises StepFailed (final) when invalid."""
        try:
            info = module.stat()
        except OSError as e:
            raise invalid(f"the module {module} cannot be read: {e.strerror}") from e
        key = (module, info.st_ino, info.st_mtime_ns, info.st_size)
        if key in self._known and not fresh:
            return self._known[key]
        target = self._folder / f"{await asyncio.to_thread(_digest, module)}-{fingerprint(self._engine)}.bin"
        async with self._locks.setdefault(target, asyncio.Lock()):
            if fresh or not target.exists():
                await compile_in_child(self._engine, module, target)
        self._known[key] = target
        return target


def _digest(module: Path) -> str:
    try:
        with module.open("rb") as f:
            if os.fstat(f.fileno()).st_size > MAX_MODULE:
                raise invalid(f"{module.name} is larger than {MAX_MODULE} bytes")
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise invalid(f"the module {module} cannot be read: {e.strerror}") from e
