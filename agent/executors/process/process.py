"""One running warm process of this host, the leader of a session."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agent.errors import in_words
from agent.executors.contract import broken
from agent.executors.folders import Folders
from agent.executors.process.child import ended
from agent.executors.process.limits import limit
from agent.executors.program import Listener
from agent.executors.record import Ended, Usage
from agent.executors.worker_program import PIECE, usage_of
from agent.model.task import ProcessTask

LAST_WORDS = 0.25
"""Seconds to wait for the rest of an ended process's output: a grandchild may hold the pipes open."""
_PIECE = 1 << 16


class _Protocol(SubprocessStreamProtocol):
    """Tells of the process's exit at once; `Process.wait` waits for its pipes too, which a grandchild may hold open."""

    def __init__(self) -> None:
        super().__init__(limit=_PIECE, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class Process:
    """A Program. It has ended when it has closed its stdout and stderr."""

    age = 0.0

    def __init__(self, process: asyncio.subprocess.Process, exited: asyncio.Event, listener: Listener) -> None:
        self._process = process
        self._exited = exited
        self._listener = listener
        self._usage: Usage | None = None
        self._follower = asyncio.create_task(self._follow(), name=f"process {process.pid} output")

    @property
    def id(self) -> str:
        """The number of the process."""
        return str(self._process.pid)

    async def write(self, data: bytes) -> None:
        """See Program."""
        assert self._process.stdin is not None
        with suppress(OSError):  # the end of its output gives the cause
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def usage(self) -> Usage | None:
        """See Program; of the process itself, without its children."""
        self._usage = usage_of(self._process.pid, self._usage)
        return self._usage

    async def kill(self) -> None:
        """Kill its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kill its process group and free its pipes."""
        await self.kill()
        self._follower.cancel()
        await asyncio.wait({self._follower})
        # Frees the pipes even where a grandchild that left the group still holds their other ends.
        self._process._transport.close()  # type: ignore[attr-defined]
        await self._process.wait()

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        exited = asyncio.create_task(self._exited.wait())
        streams = {
            asyncio.create_task(_pump(self._process.stdout, self._listener.stdout)),
            asyncio.create_task(_pump(self._process.stderr, self._listener.stderr)),
        }
        closed = asyncio.create_task(asyncio.wait(streams))
        try:
            first: set[asyncio.Task[Any]] = {exited, closed}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                await asyncio.wait(streams, timeout=LAST_WORDS)
            else:
                await asyncio.wait({exited}, timeout=LAST_WORDS)
            self._listener.ended(self._end())
        finally:
            for task in (exited, closed, *streams):
                task.cancel()
            await asyncio.gather(exited, closed, *streams, return_exceptions=True)

    def _end(self) -> Ended:
        code = self._process.returncode
        if code is None:
            return Ended("the process closed its stdout and stderr")
        return ended(code)


async def spawn(task: ProcessTask, folders: Folders, listener: Listener, environment: dict[str, str]) -> Process:
    """Start a warm process; raises StepFailed when it does not start."""
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.subprocess_exec(
            _Protocol,
            *task.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=folders.outputs,
            start_new_session=True,
        )
    except (OSError, ValueError) as e:
        raise broken(
            f"{task.command[0]} does not start: {in_words(e, file=True)}",
            code="step.start",
            hint="check process.command",
        ) from e
    process = asyncio.subprocess.Process(transport, protocol, loop)
    with suppress(ProcessLookupError):
        limit(process.pid, task.limits.memory, task.limits.outputs)
    return Process(process, protocol.exited, listener)


async def _pump(stream: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    while data := await stream.read(PIECE):
        take(data)
        await asyncio.sleep(0)  # a full buffer gives no other chance
