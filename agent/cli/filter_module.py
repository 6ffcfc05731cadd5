"""A filter's module on this machine, run without an agent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import agent
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.executors import OpenFilter

STDOUT = 1 << 20
"""Bytes that a filter may write to stdout for one batch, beside four for each byte of it: as in a pipeline."""
BUILT = Path("build/filters/wifi-join.wasm")
"""The built filter of access points' lines, in a checkout."""


def need_module(module: Path) -> None:
    """Raise ConfigError unless there is such a file."""
    if not module.is_file():
        raise ConfigError(f"there is no module {module}", hint="build it first: docs/write-your-own-filter.md")


def wifi_join() -> Path:
    """The built filter wifi-join: in the checkout of this program, else below the current folder; raises ConfigError."""
    places = (Path(agent.__file__).resolve().parents[1] / BUILT, Path.cwd() / BUILT)
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(
        f"the filter wifi-join is not built: there is no {places[0]}",
        hint="python scripts/build_filters.py wifi-join in a checkout builds it; or name a filter with --module FILE",
    )


@asynccontextmanager
async def opened(module: Path, *, stdout: int = STDOUT) -> AsyncIterator[OpenFilter]:
    """Opens the module with the arguments that it is called with, as often as needed."""
    from agent.executors import WasmExecutor
    from agent.model.task import Limits, WasmTask

    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        executor = WasmExecutor(Path(folder) / "cache", Path(folder) / "scratch", workers=1)
        try:
            yield lambda arguments: executor.filter(
                module.absolute(), WasmTask(module=str(module), args=arguments, limits=Limits(stdout=stdout))
            )
        finally:
            await executor.close()
