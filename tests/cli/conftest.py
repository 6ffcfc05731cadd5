"""The real command line in a separate process, against an agent in memory on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.memory import MemoryAgent, serving

ROOT = Path(__file__).parents[2]


class Result:
    """The outcome of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs `edge-agent` with its own socket; a traceback anywhere is a failure."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COLUMNS": "110",
            "EDGE_AGENT_SOCKET": str(socket),
            "EDGE_AGENT_STATE": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        self.folder = folder

    async def start(self, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from agent.cli import main; main()", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.environ | environ, cwd=self.folder,
        )  # fmt: skip

    async def __call__(self, *arguments: str, input: str | bytes = b"", **environ: str) -> Result:
        process = await self.start(*arguments, **environ)
        raw = input.encode() if isinstance(input, str) else input
        out, err = await asyncio.wait_for(process.communicate(raw), 60)
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(errors="replace"), err.decode())


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[MemoryAgent]:
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
def edge(agent: MemoryAgent, tmp_path: Path) -> Shell:
    return Shell(agent.config.run, tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell where no agent runs."""
    return Shell(tmp_path / "nobody.sock", tmp_path)
