"""A Runner over one warm program: events one at a time, a fresh program after any failure, restarts with backoff."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from typing import Protocol

from agent.backoff import Backoff, Tries, doubling
from agent.errors import StepFailed
from agent.executors.contract import BLOBS, broken, encode_event, file_names, parse_answer
from agent.executors.dialogue import Dialogue
from agent.executors.folders import Folders
from agent.executors.outputs import OutputFiles
from agent.model.task import BlobWriter, Limits, LogSink, StepInput, StepOutput
from agent.threads import in_thread

logger = logging.getLogger(__name__)

BACKOFF = Backoff((0.0, *doubling(1.0, 60.0)))
"""The pauses between starts after failures in a row; the first restart is at once."""


class WarmProgram(Protocol):
    """A running program with its folders and its dialogue."""

    folders: Folders
    dialogue: Dialogue

    async def ask(self, line: bytes, seconds: float, log: LogSink) -> bytes:
        """See Dialogue.ask."""
        ...

    async def close(self) -> None:
        """End it and leave nothing behind."""
        ...


class WarmRunner(ABC):
    """A Runner: `_open` starts the program. One event is with the program, the next one may wait its turn."""

    in_flight = 2

    def __init__(self, name: str, limits: Limits, blobs: BlobWriter) -> None:
        self._name = name
        self._limits = limits
        self._blobs = blobs
        self._program: WarmProgram | None = None
        self._tries = Tries(BACKOFF)
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()

    @abstractmethod
    async def _open(self) -> WarmProgram:
        """Start the program; raises Refused, Unreachable, NotFound or StepFailed."""

    async def start(self) -> None:
        """Make it warm; raises Refused (policy), Unreachable (no engine), NotFound (no image), StepFailed."""
        async with self._turn:
            await self._ready()

    async def run(self, item: StepInput, log: LogSink) -> list[StepOutput]:
        """See Runner; may raise Unreachable or NotFound too, which use up no attempt."""
        names = file_names(item.blobs)
        with OutputFiles(item.blobs) as files:
            async with self._turn:
                program = await self._ready()
                try:
                    line = await self._exchange(program, item, names, log)
                    await in_thread(partial(self._take, program, files, line, item.event.id))
                except StepFailed as e:
                    e.fields.update(program.dialogue.fields())
                    if e.final and await in_thread(partial(_cleared, program)):
                        self._tries.succeeded()
                    else:
                        await self._end(program)
                    raise
                except BaseException:
                    await asyncio.shield(self._end(program))
                    raise
                self._tries.succeeded()
            return await files.store(program.folders.outputs, self._blobs, self._limits)

    async def close(self) -> None:
        """End the program; an event that is with it fails."""
        self._stop.set()
        program = self._program
        if program is not None:
            program.dialogue.fail(broken("the step is being stopped", code="step.stopped"))
        async with self._turn:
            if self._program is not None:
                await self._end(self._program)

    async def _ready(self) -> WarmProgram:
        if self._program is not None and self._program.dialogue.broken is not None:
            logger.warning("step %s: %s; a fresh program is started", self._name, self._program.dialogue.broken.message)
            await self._end(self._program)
        if self._program is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._tries.left())
            if self._stop.is_set():
                raise broken("the step is being stopped", code="step.stopped")
            try:
                self._program = await self._open()
            except StepFailed:
                self._tries.failed()
                raise
        return self._program

    async def _exchange(self, program: WarmProgram, item: StepInput, names: list[str], log: LogSink) -> bytes:
        if item.blobs:
            await in_thread(partial(program.folders.fill, item.blobs, names))
        line = encode_event(item.event, item.blobs, names, self._seen_at(program))
        return await program.ask(line, self._limits.timeout, log)

    def _seen_at(self, program: WarmProgram) -> str:
        """The folder of the blobs as the program sees it."""
        return BLOBS

    def _take(self, program: WarmProgram, files: OutputFiles, line: bytes, event_id: str) -> None:
        """Open the files that the answer names and empty the folders, before the program gets its next event."""
        files.open(parse_answer(line, event_id), program.folders.outputs, self._limits)
        if not _cleared(program):
            raise broken("the program goes on writing after its answer", code="step.outputs")

    async def _end(self, program: WarmProgram) -> None:
        self._program = None
        self._tries.failed()
        await program.close()


def _cleared(program: WarmProgram) -> bool:
    """Empty its folders; False where the program keeps filling them."""
    try:
        program.folders.clear()
    except OSError:
        return False
    return True
