"""A Runner over one warm program: events one at a time, a fresh program after any failure, restarts with backoff."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from functools import partial

from agent.backoff import Backoff, Tries, doubling
from agent.errors import StepFailed
from agent.executors.contract import broken, encode_event, file_names, parse_answer
from agent.executors.dialogue import Dialogue
from agent.executors.folders import Folders
from agent.executors.log_lines import log_failure
from agent.executors.outputs import OutputFiles
from agent.executors.program import Launcher, Program, watched
from agent.model.task import BlobWriter, Limits, StepInput, StepLog, StepOutput
from agent.threads import finished, in_thread

logger = logging.getLogger(__name__)

BACKOFF = Backoff((0.0, *doubling(1.0, 60.0)))
"""The pauses between starts after failures in a row; the first restart is at once."""


class _Warm:
    """A running program with its folders, its dialogue, and the watch over its files."""

    def __init__(self, program: Program, folders: Folders, dialogue: Dialogue) -> None:
        self.program = program
        self.folders = folders
        self.dialogue = dialogue
        self.busy = asyncio.Event()
        self.life = AsyncExitStack()
        self._ending: asyncio.Future[None] | None = None

    async def ask(self, line: bytes, event: str) -> bytes:
        self.busy.set()
        try:
            return await self.dialogue.ask(self.program.write, line, event)
        finally:
            self.busy.clear()

    async def end(self) -> None:
        """End the program. Its folders stay: the files of its last answer may be being read."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await finished(self._ending)

    async def close(self) -> None:
        """End the program and delete its folders."""
        self.dialogue.over.set()  # its guard ends, too
        await self.end()
        await in_thread(self.folders.remove)

    async def _end(self) -> None:
        await self.life.aclose()
        await self.program.close()


class WarmRunner:
    """A Runner. One event is with the program, the next one may wait its turn."""

    in_flight = 2

    def __init__(
        self, name: str, launcher: Launcher, limits: Limits, start_timeout: float, blobs: BlobWriter, log: StepLog
    ) -> None:
        self._name = name
        self._launcher = launcher
        self._limits = limits
        self._start_timeout = start_timeout
        self._blobs = blobs
        self._log = log
        self._warm: _Warm | None = None
        self._tries = Tries(BACKOFF)
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()
        self._guards: set[asyncio.Task[None]] = set()
        self.start_failure: StepFailed | None = None

    @property
    def running(self) -> int:
        """How many programs run now; one that has ended or is being ended does not count."""
        return int(self._warm is not None and self._warm.dialogue.broken is None)

    async def start(self) -> None:
        """Make it warm; raises Unreachable (no engine), NotFound (no image), StepFailed."""
        async with self._turn:
            await self._ready()

    async def run(self, item: StepInput) -> list[StepOutput]:
        """See Runner; may raise Unreachable or NotFound too, which use up no attempt."""
        names = file_names(item.blobs)
        with OutputFiles(item.blobs) as files:
            async with self._turn:
                warm = await self._ready()
                try:
                    line = await self._exchange(warm, item, names)
                    await in_thread(partial(self._take, warm, files, line, item.event.id))
                except StepFailed as e:
                    await finished(self._failed(warm, e, item.event.id))
                    raise
                except BaseException:
                    await finished(self._end(warm))
                    raise
                self._tries.succeeded()
            return await files.store(warm.folders.outputs, self._blobs, self._limits)

    async def close(self) -> None:
        """End the program; an event that is with it fails."""
        self._stop.set()
        if self._warm is not None:
            self._warm.dialogue.fail(broken("the step is being stopped", code="step.stopped"))
        async with self._turn:
            if self._warm is not None:
                await self._end(self._warm)
        await asyncio.gather(*self._guards)

    async def _ready(self) -> _Warm:
        await self._drop_broken()
        if self._warm is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._tries.left())
            if self._stop.is_set():
                raise broken("the step is being stopped", code="step.stopped")
            try:
                self._warm = await self._open()
            except StepFailed:
                self._tries.failed()
                raise
            if self._stop.is_set():
                await finished(self._end(self._warm))
                raise broken("the step is being stopped", code="step.stopped")
        return self._warm

    async def _open(self) -> _Warm:
        """Start the program; raises Unreachable, NotFound or StepFailed and leaves nothing behind."""
        folders = self._launcher.folders()
        self.start_failure = None
        dialogue = Dialogue(self._launcher.kind, self._limits, self._log.begin(), self._start_timeout)
        try:
            await in_thread(folders.make)
            warm = _Warm(await self._launcher.open(folders, dialogue, once=False), folders, dialogue)
        except BaseException:
            await in_thread(folders.remove)
            raise
        dialogue.started()
        watch = watched(warm.program, folders, self._limits, dialogue, self._launcher.kind, warm.busy)
        await warm.life.enter_async_context(watch)
        guard = asyncio.create_task(self._guard(warm), name=f"end of {warm.program.id}")
        self._guards.add(guard)
        guard.add_done_callback(self._guards.discard)
        return warm

    async def _guard(self, warm: _Warm) -> None:
        """End the program as soon as it is out of step, whether an event is with it or not."""
        await warm.dialogue.over.wait()
        if self._warm is warm and not warm.dialogue.ready:
            self.start_failure = warm.dialogue.broken
        await warm.end()
        async with self._turn:
            await self._drop_broken()

    async def _drop_broken(self) -> None:
        if self._warm is not None and self._warm.dialogue.broken is not None:
            error = self._warm.dialogue.broken.message
            logger.warning("step %s: %s; the next event gets a fresh program", self._name, error)
            await self._end(self._warm)

    async def _exchange(self, warm: _Warm, item: StepInput, names: list[str]) -> bytes:
        if item.blobs:
            await in_thread(partial(warm.folders.fill, item.blobs, names))
        line = encode_event(item.event, item.blobs, names, self._launcher.seen_at(warm.folders.blobs))
        return await warm.ask(line, item.event.id)

    def _take(self, warm: _Warm, files: OutputFiles, line: bytes, event_id: str) -> None:
        """Open the files that the answer names and empty the folders, before the program gets its next event."""
        files.open(parse_answer(line, event_id), warm.folders.outputs, self._limits, self._launcher.kind)
        if not _cleared(warm.folders):
            raise broken("the program goes on writing after its answer", code="step.outputs")

    async def _failed(self, warm: _Warm, error: StepFailed, event: str) -> None:
        """Write the failure to the log; the program goes on only where it reported the error itself."""
        if warm.dialogue.broken is None:
            log_failure(warm.dialogue.log, error, event)
        error.fields.update(warm.dialogue.fields())
        if error.final and await in_thread(partial(_cleared, warm.folders)):
            self._tries.succeeded()
        else:
            await self._end(warm)

    async def _end(self, warm: _Warm) -> None:
        self._warm = None
        self._tries.failed()
        await warm.close()


def _cleared(folders: Folders) -> bool:
    """Empty the folders; False where the program keeps filling them."""
    try:
        folders.clear()
    except OSError:
        return False
    return True
