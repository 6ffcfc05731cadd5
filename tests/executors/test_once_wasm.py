"""`once` modules that wait for a free worker: their time begins when they run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import WasmExecutor
from agent.model.task import Limits, Runner, WasmTask
from tests.executors.conftest import Lines, MakeInput, runner_of
from tests.support import eventually


class Queue:
    """An executor with one worker, which a program holds until `go`."""

    def __init__(self, executor: WasmExecutor, scratch: Path, make: Callable[..., Runner]) -> None:
        self.executor, self.scratch, self.make = executor, scratch, make

    def folders(self) -> list[Path]:
        return [path.parent for path in self.scratch.glob("*/program/event.json")]

    @asynccontextmanager
    async def held(self, make_input: MakeInput) -> AsyncIterator[Callable[[], None]]:
        """The only worker is held within the block; yields a function that lets it go."""
        log = Lines()
        task = asyncio.create_task(self.make("wait", "0", log=log).run(await make_input()))
        await eventually(lambda: log.stdout)
        (folder,) = self.folders()
        go = (folder / "inputs" / "go").touch
        yield go
        with suppress(FileNotFoundError):  # it has ended
            go()
        await task


@pytest.fixture
async def queue(tmp_path: Path, store: BlobStore, program: Callable[[str], Path]) -> AsyncIterator[Queue]:
    executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=1)

    def make(*args: str, timeout: float = 60.0, log: Lines) -> Runner:
        task = WasmTask(module="once", args=list(args), once=True, limits=Limits(timeout=timeout))
        return runner_of(store, log, task, module=program("once"), wasm=executor)

    yield Queue(executor, tmp_path / "scratch", make)
    await executor.close()


async def test_time_limit_leaves_out_the_wait_for_a_worker(queue: Queue, make_input: MakeInput, log: Lines) -> None:
    limit = 1.0
    async with queue.held(make_input) as go:
        began = time.monotonic()
        task = asyncio.create_task(queue.make("none", timeout=limit, log=log).run(await make_input()))
        await eventually(lambda: len(queue.folders()) == 2)
        await eventually(lambda: time.monotonic() > began + 1.5 * limit)
        go()
        (output,) = await task
    assert output.data["program"]["run_ms"] < 1e3 * limit


async def test_close_ends_the_wait_for_a_worker(queue: Queue, make_input: MakeInput, log: Lines) -> None:
    async with queue.held(make_input):
        runner = queue.make("none", log=log)
        task = asyncio.create_task(runner.run(await make_input()))
        await eventually(lambda: len(queue.folders()) == 2)
        await runner.close()
        with pytest.raises(StepFailed, match="being stopped"):
            await task
        assert len(queue.folders()) == 1
    assert log.begun == 0
