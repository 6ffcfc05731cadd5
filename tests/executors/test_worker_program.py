"""A program that a worker process carries out, seen from the agent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

from agent.executors.folders import Folders
from agent.executors.record import Result
from agent.executors.worker_program import WorkerProgram


async def test_interrupted_kill_does_not_lose_the_end_of_the_worker(tmp_path: Path) -> None:
    ending, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def end() -> None:
        ending.set()
        await may_end.wait()
        ended.set()

    async def run() -> Result:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.shield(end())

    program = WorkerProgram(Folders.of(tmp_path, "x", shared=False), Mock(), run())
    killing = asyncio.create_task(program.kill())
    await ending.wait()
    killing.cancel()
    closing = asyncio.create_task(program.close())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not closing.done()
    may_end.set()
    await closing
    assert ended.is_set()
