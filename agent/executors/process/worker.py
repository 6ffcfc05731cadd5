"""The agent's side of a worker of `once` processes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.children import Child, TooLarge
from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.kept import end_processes
from agent.executors.process.child import Request, Started
from agent.executors.record import Handle, ProcessId, Result, read_handle

_STARTED = msgspec.msgpack.Decoder(Started)
_RESULT = msgspec.msgpack.Decoder(Result)
_GONE = (OSError, EOFError, msgspec.DecodeError, TooLarge)


class ProcessWorker:
    """A PooledWorker: it carries out one program at a time."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._program: ProcessId | None = None
        self._root: Path | None = None
        """The record of the program that is being started, or runs."""
        self.spent = False
        self.since = 0.0

    @classmethod
    async def start(cls) -> ProcessWorker:
        """Start a worker, in about 50 ms; raises StepFailed."""
        try:
            return cls(await Child.start("agent.executors.process.child", "process-child"))
        except OSError as e:
            raise broken(f"the worker of processes does not start: {e}", code="process.worker") from e

    @property
    def alive(self) -> bool:
        """See PooledWorker."""
        return self._child.alive

    async def begin(self, request: Request) -> ProcessId:
        """Start a program; raises StepFailed, after which the worker must be closed."""
        self._root = Path(request.root)
        try:
            started = _STARTED.decode(await self._child.ask(msgspec.msgpack.encode(request)))
        except _GONE as e:
            raise _died() from e
        if started.process is None:
            text = f"{request.command[0]} does not start: {started.error}"
            raise broken(text, code="step.start", hint="check process.command")
        self._program = started.process
        return started.process

    async def result(self) -> Result:
        """Wait for the end of the program; raises StepFailed, after which the worker must be closed."""
        try:
            result = _RESULT.decode(await self._child.receive())
        except _GONE as e:
            raise _died() from e
        self._program = self._root = None
        return result

    async def close(self) -> None:
        """Kill it and its program."""
        if self._program is None and self._root is not None and (handle := read_handle(self._root)):
            self._program = handle.program  # it may have started although the answer never came
        if self._program is not None:
            await end_processes(Handle.now(program=self._program))
        await self._child.close()


def _died() -> StepFailed:
    return broken("the worker of processes died: most likely out of memory", code="process.worker")
