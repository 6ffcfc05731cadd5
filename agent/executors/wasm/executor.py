"""The WASM executor: compiled modules, filters in this process, other programs in warm workers."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.kept import Kept, end_processes
from agent.executors.pool import WORKER_REST, Pool
from agent.executors.wasm.available import engine_name, make_sandbox
from agent.executors.wasm.cache import CompileCache
from agent.executors.wasm.child import Request
from agent.executors.wasm.filter import WasmFilter
from agent.executors.wasm.runner import Run, WasmWork
from agent.executors.wasm.sandbox import Call, Outcome, Program, Sandbox, Take, nothing
from agent.executors.wasm.worker import Worker
from agent.model.task import WasmTask

SLOWNESS = {"wasmtime": 1.0, "wasm3": 12.0}
"""The factor of an engine on time limits; wasm3 against wasmtime on the rescale program."""


class WasmExecutor:
    """Compiles once into `cache` (0700), runs filters in this process and modules with folders in `workers` workers.

    An idle worker ends after `rest` seconds. `scratch` holds one folder for each running program and is emptied first, but
    for the `once` programs of the previous run; it may be a disk in RAM. `engine` is the platform's by default. Raises
    ConfigError where `cache` belongs to another user.
    """

    def __init__(
        self, cache: Path, scratch: Path, *, workers: int | None = None, engine: str = "", rest: float = WORKER_REST
    ) -> None:
        self.name = engine or engine_name()
        self._slowness = SLOWNESS[self.name]
        self._cache = CompileCache(cache, self.name)
        self._scratch = scratch
        self._kept = Kept(scratch)
        self._kept.clear()
        count = workers or max(1, min(4, os.cpu_count() or 1))
        # Without wasmtime the filters run in workers too, and a line of the log must not wait until one starts.
        self._pool = Pool(lambda: Worker.start(self.name), count, rest=math.inf if self.name == "wasm3" else rest)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="wasm")
        self._sandbox: Sandbox | None = None
        self._programs: dict[Path, Program] = {}
        self._loading = asyncio.Lock()

    def filter(self, module: Path, task: WasmTask) -> WasmFilter:
        """A source filter; the module is compiled at its first batch."""
        in_process = self.name == "wasmtime"

        async def execute(call: Call) -> Outcome:
            if in_process:
                return await self._run_here(module, call)
            async with self._lend(module) as run:
                return await run(call, 0, None, nothing)

        return WasmFilter(module.name, task, execute, self._slowness)

    def work(self, module: Path, task: WasmTask) -> WasmWork:
        """The work of a step; its `ready` compiles the module and warms a worker."""

        async def ready() -> None:
            await self._cache.compiled(module)
            await self._pool.warm()

        return WasmWork(
            module.name, task, self._scratch, self._kept, ready, partial(self._lend, module), width=self._pool.size,
            slowness=self._slowness,
        )  # fmt: skip

    async def give_up_left(self) -> None:
        """End the `once` programs of the previous run that nothing has adopted."""
        await self._kept.give_up(end_processes)

    async def close(self) -> None:
        """Kill the workers, and what nothing has adopted, and end the threads; running filters end at their limits."""
        await self.give_up_left()
        await self._pool.close()
        await asyncio.to_thread(self._threads.shutdown)
        self._programs.clear()
        if self._sandbox is not None:
            self._sandbox.close()

    async def _run_here(self, module: Path, call: Call) -> Outcome:
        program = await self._load_here(module)
        calls = [call]

        def run() -> Outcome:
            # The input's memory is used again: the thread must not hold it after the run.
            return program.run(calls.pop())

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _load_here(self, module: Path) -> Program:
        compiled = await self._cache.compiled(module)
        async with self._loading:
            if compiled not in self._programs:
                loop = asyncio.get_running_loop()
                try:
                    program = await loop.run_in_executor(self._threads, self._load, compiled)
                except StepFailed as e:
                    if e.code != "wasm.stale":
                        raise
                    compiled = await self._cache.compiled(module, fresh=True)
                    program = await loop.run_in_executor(self._threads, self._load, compiled)
                self._programs[compiled] = program
        return self._programs[compiled]

    def _load(self, compiled: Path) -> Program:
        if self._sandbox is None:
            self._sandbox = make_sandbox(self.name)
        return self._sandbox.load(compiled)

    @asynccontextmanager
    async def _lend(self, module: Path) -> AsyncIterator[Run]:
        """Lend a worker that has loaded the module; an exception in the block kills it."""
        compiled = await self._cache.compiled(module)
        async with self._pool.lend() as worker:
            try:
                await worker.load(compiled)
            except StepFailed as e:
                if e.code != "wasm.stale":
                    raise
                compiled = await self._cache.compiled(module, fresh=True)
                await worker.load(compiled)

            async def run(call: Call, file_size: int, overrun: Callable[[], str] | None, take: Take) -> Outcome:
                return await worker.call(Request(str(compiled), call, file_size), call.seconds, overrun, take)

            yield run
