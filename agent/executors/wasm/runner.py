"""WASM steps: a fresh instance in a warm worker for each event, with fresh folders.

`WasmRunner` speaks the step contract: the instance gets one event and answers it. `WasmLauncher` starts a `once` program.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.contract import (
    BLOBS,
    INPUTS,
    OUTPUTS,
    broken,
    encode_event,
    excerpt,
    file_names,
    is_ready,
    parse_answer,
    places,
)
from agent.executors.folders import Folders
from agent.executors.kept import Kept
from agent.executors.log_lines import LogLines, log_failure
from agent.executors.once import MAX_LOG, MORE
from agent.executors.outputs import OutputFiles
from agent.executors.program import Listener
from agent.executors.record import Result
from agent.executors.wasm.sandbox import Call, Dir, Outcome, Output, Take, check_outcome, nothing, result
from agent.executors.worker_program import PIECE, WorkerProgram, adopt
from agent.model.task import BlobWriter, StepInput, StepLog, StepOutput, WasmTask
from agent.threads import in_thread

Run = Callable[[Call, int, Callable[[], str] | None, Take], Awaitable[Outcome]]
"""Runs a call in a worker: (call, largest file in bytes, function that returns the overrun limit, output) → outcome."""
Lend = Callable[[], AbstractAsyncContextManager[Run]]
"""Lends a worker that has loaded the module; an exception in the block kills the worker."""


class WasmWork:
    """The module of one task, the way to run it, and how many instances run at a time. `ready` compiles and warms it."""

    def __init__(
        self, name: str, task: WasmTask, scratch: Path, kept: Kept, ready: Callable[[], Awaitable[None]], lend: Lend,
        *, width: int, slowness: float,
    ) -> None:  # fmt: skip
        self.argv = [name, *task.args]
        self.env = task.env
        self.limits = task.limits
        self.seconds = task.limits.timeout * slowness
        self.scratch = scratch
        self.kept = kept
        self.ready = ready
        self.lend = lend
        self.width = width

    def warm_call(self, folders: Folders, line: bytes) -> Call:
        """The run of a warm program: one event."""
        limits, seen = self.limits, Dir(str(folders.blobs), BLOBS.rstrip("/"), writable=False)
        return self._call(folders, [seen], line, limits.stdout, limits.stderr, follow=["stderr"])

    def once_call(self, folders: Folders) -> Call:
        """The run of a `once` program; its output goes to files beside its folders."""
        inputs = Dir(str(folders.blobs), INPUTS.rstrip("/"), writable=False)
        seen = [Dir(str(folders.program), "/", writable=False), inputs]
        return self._call(folders, seen, b"", MAX_LOG + MORE, MAX_LOG + MORE, root=str(folders.root))

    def _call(
        self, folders: Folders, seen: list[Dir], stdin: bytes, stdout: int, stderr: int, *, root: str = "",
        follow: Sequence[Output] = (),
    ) -> Call:  # fmt: skip
        return Call(
            argv=self.argv,
            stdin=stdin,
            seconds=self.seconds,
            memory=self.limits.memory,
            stdout=stdout,
            stderr=stderr,
            env=list((self.env | places(once=bool(root))).items()),
            dirs=[*seen, Dir(str(folders.outputs), OUTPUTS.rstrip("/"), writable=True)],
            follow=list(follow),
            root=root,
        )


class WasmRunner:
    """A Runner over the executor's workers."""

    def __init__(self, work: WasmWork, blobs: BlobWriter, log: StepLog) -> None:
        self.in_flight = work.width
        self._work = work
        self._blobs = blobs
        self._log = log
        self._begun = False

    running = 0
    """A worker is shared, so nothing is kept running for one step."""
    start_failure = None

    async def start(self) -> None:
        """Compile the module and start a worker."""
        await self._work.ready()

    async def run(self, item: StepInput) -> list[StepOutput]:
        """See Runner."""
        if not self._begun:
            self._begun = True
            self._log = self._log.begin()
        names = file_names(item.blobs)
        folders = Folders.of(self._work.scratch, "", shared=True)
        stderr = LogLines(self._log, "stderr")

        def take(stream: Output, data: bytes) -> None:
            stderr.feed(data, item.event.id)

        try:
            await in_thread(partial(_prepare, folders, item, names))
            call = self._work.warm_call(folders, encode_event(item.event, item.blobs, names))
            limits = self._work.limits
            async with self._work.lend() as run:
                outcome = await run(call, limits.outputs, partial(folders.overrun, limits), take)
            for at in range(0, len(outcome.stderr), PIECE):
                take("stderr", outcome.stderr[at : at + PIECE])
                await asyncio.sleep(0)
            stderr.flush(item.event.id)
            check_outcome(outcome, call)
            events = parse_answer(self._only_line(outcome.stdout, item.event.id), item.event.id)
            with OutputFiles(item.blobs) as files:
                await in_thread(partial(files.open, events, folders.outputs, limits, "wasm"))
                return await files.store(folders.outputs, self._blobs, limits)
        except StepFailed as e:
            log_failure(self._log, e, item.event.id)
            e.fields.update(stderr.fields())
            raise
        finally:
            await in_thread(folders.remove)

    async def close(self) -> None:
        """Do nothing: the workers belong to the executor."""

    def _only_line(self, stdout: bytes, event: str) -> bytes:
        lines = stdout.removesuffix(b"\n").split(b"\n") if stdout else []
        if lines and is_ready(lines[0]):
            del lines[0]
        if not lines:
            raise broken("the program ended without an answer")
        if len(lines) == 1:
            return lines[0]
        others = (f"not an answer: {excerpt(line)}" for line in lines if not _answers(line, event))
        self._log.line(next(others, f"a second answer: {excerpt(lines[1])}"), "agent", event)
        raise broken(f"the program answered one event with {len(lines)} lines")


class WasmLauncher:
    """A Launcher of `once` programs."""

    kind = "wasm"

    def __init__(self, work: WasmWork) -> None:
        self._work = work

    async def check(self) -> None:
        """See Launcher."""
        await self._work.ready()

    def folders(self, once: str = "") -> Folders:
        """See Launcher."""
        return Folders.of(self._work.scratch, once, shared=True)

    def seen_at(self, path: Path) -> str:
        """See Launcher."""
        return INPUTS

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> WorkerProgram:
        """See Launcher. The program's time begins when a worker is free and has loaded the module."""
        call = self._work.once_call(folders)
        async with AsyncExitStack() as stack:
            execute = await stack.enter_async_context(self._work.lend())
            lent = stack.pop_all()

        async def run() -> Result:
            began = time.monotonic()
            async with lent:
                outcome = await execute(call, self._work.limits.outputs, None, nothing)
            return result(outcome, call, time.monotonic() - began)

        return WorkerProgram(folders, listener, run())

    async def adopt(self, folders: Folders, listener: Listener) -> WorkerProgram | None:
        """See Launcher."""
        return await adopt(self._work.kept, folders, listener)


def _answers(line: bytes, event: str) -> bool:
    """Whether the line alone would be an answer to the event."""
    try:
        parse_answer(line, event)
    except StepFailed as e:
        return e.final
    return True


def _prepare(folders: Folders, item: StepInput, names: list[str]) -> None:
    folders.make()
    folders.fill(item.blobs, names)
