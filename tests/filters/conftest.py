"""The built filters and an executor to run them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.executors import WasmExecutor
from agent.model.task import FilterRunner, WasmTask

ROOT = Path(__file__).resolve().parents[2]
ZIG = ROOT / ".cache" / "zig"

Run = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def filters() -> Path:
    """The folder of built modules; the build does nothing if they are up to date."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".filters.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "build_filters.py")], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "filters"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executor's cache, one for all tests: compiling takes longer than the tests."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
async def executor(tmp_path: Path, compiled: Path) -> AsyncIterator[WasmExecutor]:
    made = WasmExecutor(compiled / "cache", tmp_path / "scratch", workers=1)
    yield made
    await made.close()


@pytest.fixture
async def small_executor(tmp_path: Path, compiled: Path) -> AsyncIterator[WasmExecutor]:
    """An executor with the engine of small devices, which knows only the oldest instructions."""
    made = WasmExecutor(compiled / "small-cache", tmp_path / "small-scratch", workers=1, engine="wasm3")
    yield made
    await made.close()


@pytest.fixture
def open_filter(filters: Path, executor: WasmExecutor) -> Callable[[str], FilterRunner]:
    """Open a built filter by name."""
    return lambda name: executor.filter(filters / f"{name}.wasm", WasmTask(module=name))


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wifi-join for this machine; any access outside its memory and any overflow ends it with a trap."""
    out = tmp_path_factory.mktemp("native") / "wifi-join"
    flags = ["-O1", "-g", "-fsanitize=undefined", "-fsanitize-trap=undefined", "-DEDGE_READ=64"]
    source = ROOT / "filters" / "wifi-join.c"
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *flags, str(source), "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(ZIG), "ZIG_LOCAL_CACHE_DIR": str(ZIG)},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def run(checked: Path) -> Run:
    """Run the native filter on lines with its arguments; returns what it prints."""

    def go(lines: list[str], *args: str) -> list[Any]:
        text = "".join(f"{line}\n" for line in lines).encode()
        done = subprocess.run([checked, *args], input=text, capture_output=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return go
