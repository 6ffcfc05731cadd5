"""The frozen tree of this machine, built once and kept by the hash of its sources."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.conftest import filters, log, make_input, program, store
from tests.packaging.bare_root import BareRoot

__all__ = ["filters", "log", "make_input", "program", "store"]

ROOT = Path(__file__).resolve().parents[2]


def freeze(out: Path, *arguments: str, source: Path = ROOT) -> Path:
    """Build the tree of this machine from a checkout below `out`; skips where it cannot be built here."""
    if platform.machine() not in ("x86_64", "aarch64") or sys.version_info[:2] != (3, 11):
        pytest.skip("trees are built here on x86_64 and aarch64 with Python 3.11")
    if not shutil.which("objdump"):
        pytest.skip("PyInstaller needs binutils")
    command = [sys.executable, str(source / "packaging/freeze.py"), platform.machine(), "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(out.iterdir())


def busybox() -> Path:
    """The static busybox of this machine; skips where there is none."""
    found = Path("/bin/busybox")
    if not found.exists() or subprocess.run(["ldd", found], capture_output=True, check=False).returncode == 0:
        pytest.skip("busybox-static is not installed")
    return found


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen tree of this checkout."""
    return freeze(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def bare(tree: Path, tmp_path: Path) -> Iterator[BareRoot]:
    """A running root with nothing but a static busybox and the tree in /opt/edge-agent."""
    if os.geteuid() != 0:
        pytest.skip("a root in namespaces needs root")
    root = BareRoot(tmp_path / "bare", tree, busybox())
    try:
        yield root
    finally:
        root.close()
