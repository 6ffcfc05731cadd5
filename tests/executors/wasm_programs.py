"""Builds the WASM programs of the tests with Zig's C compiler, kept under .cache by the hash of source and flags."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).parent / "programs"
BUILT = ROOT / ".cache" / "test-programs"
FLAGS = ["-target", "wasm32-wasi", "-mcpu=mvp", "-O2", "-Wl,-z,stack-size=131072", "-Wl,--strip-all"]


def build(name: str) -> Path:
    """The module of programs/<name>.c."""
    source = SOURCES / f"{name}.c"
    header = (SOURCES / "step.h").read_bytes()
    digest = hashlib.sha256(source.read_bytes() + header + " ".join(FLAGS).encode()).hexdigest()[:16]
    target = BUILT / f"{name}-{digest}.wasm"
    if not target.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(ROOT / ".cache" / "zig")}
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(part), str(source)]
        subprocess.run(command, env=env, check=True, timeout=300)
        part.replace(target)
    return target
