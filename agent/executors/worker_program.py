"""A `once` program that a worker process carries out (WASM, processes): its output is in files, which are followed.

So a program that goes on while no agent runs waits for no reader, and the next run adopts it with its whole output.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from agent.errors import EdgeError, StepFailed
from agent.executors.contract import broken
from agent.executors.folders import Folders
from agent.executors.kept import Kept, end_processes
from agent.executors.program import Listener
from agent.executors.record import STREAMS, Ended, Handle, ProcessId, Result, Usage, open_regular, read_result

logger = logging.getLogger(__name__)

FOLLOW = 0.1
"""Seconds between looks at the output of a program that runs, and at an adopted program."""
PIECE = 1 << 12
"""Bytes between two chances for the agent's other work: each of them may be a log line."""


async def nothing_more() -> None:
    """End nothing."""


class WorkerProgram:
    """A Program. `run` waits for its end; where it is cancelled, it kills a program that this run of the agent started.

    `end` ends the processes of an adopted program. `process` is the program's own process, where it has one.
    """

    def __init__(
        self, folders: Folders, listener: Listener, run: Coroutine[Any, Any, Result], *, process: ProcessId | None = None,
        age: float = 0.0, end: Callable[[], Awaitable[None]] = nothing_more,
    ) -> None:  # fmt: skip
        self.id = str(process.number) if process is not None else folders.root.name
        self.age = age
        self._root = folders.root
        self._listener = listener
        self._process = process
        self._end = end
        self._usage: Usage | None = None
        self._result = asyncio.create_task(run, name=f"program {self.id}")
        self._follower = asyncio.create_task(self._follow(), name=f"program {self.id} output")

    async def write(self, data: bytes) -> None:
        """Do nothing: its stdin is empty."""

    async def usage(self) -> Usage | None:
        """See Program; while it runs, without its children."""
        if self._process is not None and not self._result.done():
            self._usage = usage_of(self._process.number, self._usage)
        return self._usage

    async def kill(self) -> None:
        """See Program."""
        await self._end()
        await asyncio.sleep(0)  # a task that is cancelled before its first step would free nothing
        if not self._result.cancelling():  # a second time would interrupt the end of its worker
            self._result.cancel()
        await asyncio.wait({self._result})

    async def close(self) -> None:
        """See Program."""
        await self.kill()
        self._follower.cancel()
        await asyncio.wait({self._follower})
        if not self._result.cancelled():
            self._result.exception()  # the follower may not have come to it

    async def _follow(self) -> None:
        try:
            await self._read()
        except Exception as e:
            logger.exception("program %s: internal error in the agent", self.id)
            self._listener.fail(broken(f"its output cannot be followed: {type(e).__name__}: {e}", code="step.failed"))

    async def _read(self) -> None:
        takers = {"stdout": self._listener.stdout, "stderr": self._listener.stderr}
        with ExitStack() as files:
            streams = [_Followed(self._root / name, takers[name], files) for name in STREAMS]
            ended = False
            while not ended:
                ended = bool((await asyncio.wait({self._result}, timeout=FOLLOW))[0])
                for stream in streams:
                    while stream.piece():
                        await asyncio.sleep(0)
        if self._result.cancelled():
            return
        try:
            result = self._result.result()
        except StepFailed as e:
            self._listener.fail(e)
        except EdgeError as e:
            self._listener.ended(Ended(e.message, code=e.code))
        else:
            if result.usage is not None:
                self._usage = result.usage.since(self._usage)
            self._listener.ended(result.end)


class _Followed:
    """An output file from its beginning; it may not be there yet."""

    def __init__(self, path: Path, take: Callable[[bytes], None], files: ExitStack) -> None:
        self._path = path
        self._take = take
        self._files = files
        self._fd: int | None = None
        self._at = 0

    def piece(self) -> bool:
        """Take what was written since the last call, at most PIECE bytes; returns whether there may be more."""
        if self._fd is None:
            self._fd = open_regular(self._path)
            if self._fd is None:
                return False
            self._files.callback(os.close, self._fd)
        data = os.pread(self._fd, PIECE, self._at)
        if not data and os.fstat(self._fd).st_size < self._at:
            self._at = 0  # the program has opened it again and cut it off
            return True
        self._at += len(data)
        if data:
            self._take(data)
        return len(data) == PIECE


def usage_of(number: int, before: Usage | None) -> Usage | None:
    """The use of the process with this number until now, without its children; `before` where it has ended."""
    try:
        process = psutil.Process(number)
        times, memory = process.cpu_times(), process.memory_info().rss
    except psutil.Error:
        return before
    return Usage(times.user + times.system, memory).since(before)


async def adopt(kept: Kept, folders: Folders, listener: Listener) -> WorkerProgram | None:
    """The running or ended program in these folders that the previous run of the agent left; None without such a program."""
    handle = await kept.take(folders.root.name)
    if handle is None:
        return None
    alive, result = handle.alive, read_result(folders.root)  # in this order: it may end just now
    if result is None and not alive:
        await end_processes(handle)
        return None
    running = result is None
    return WorkerProgram(
        folders, listener, _result(folders.root, handle), process=handle.program if running else None,
        age=handle.age if running else 0.0, end=partial(end_processes, handle),
    )  # fmt: skip


async def _result(root: Path, handle: Handle) -> Result:
    while True:
        alive = handle.alive
        if (result := read_result(root)) is not None:
            return result
        if not alive:
            return Result(Ended("the program's worker process died: most likely out of memory", code="step.exit"))
        await asyncio.sleep(FOLLOW)
