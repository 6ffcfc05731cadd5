"""A filter's module on this machine, run without an agent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.shared import builtin_program

if TYPE_CHECKING:
    from agent.executors import OpenFilter

STDOUT = 1 << 20
"""Bytes that a filter may write to stdout for one batch, beside four for each byte of it: as in a pipeline."""


WIFI_JOIN = "edge/wifi-join"
"""The filter of access points' lines that comes with the agent."""


def module_file(module: str) -> Path:
    """The file of a module: a path, or the name of a program that comes with the agent. Raises ConfigError, NotFound."""
    file = builtin_program(module) or Path(module)
    if not file.is_file():
        raise ConfigError(f"there is no module {module}", hint="build it first: docs/write-your-own-filter.md")
    return file


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
