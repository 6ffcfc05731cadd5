"""WASM steps: a fresh instance in a warm worker for each event, with fresh folders.

`WasmRunner` speaks the step contract: the instance gets one event and answers it. `WasmLauncher` starts a `once` program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from agent.errors import EdgeError, StepFailed
from agent.executors.contract import (
    BLOBS,
    INPUTS,
    OUTPUTS,
    broken,
    encode_event,
    excerpt,
    file_names,
    parse_answer,
    places,
)
from agent.executors.folders import Folders
from agent.executors.log_lines import LogLines, log_failure
from agent.executors.once import MAX_LOG
from agent.executors.outputs import OutputFiles
from agent.executors.program import Ended, Listener, Usage
from agent.executors.wasm.sandbox import Call, Dir, Outcome, Output, Take, check_outcome, describe
from agent.model.task import BlobWriter, StepInput, StepLog, StepOutput, WasmTask
from agent.threads import in_thread

Execute = Callable[[Call, int, Callable[[], str] | None, Take], Awaitable[Outcome]]
"""Runs a call in a worker: (call, largest file in bytes, function that returns the overrun limit, output) → outcome."""


MORE = 1 << 16
"""Bytes beyond MAX_LOG for which there is room: the listener ends a program that goes beyond, and a full stream would not."""


class WasmWork:
    """The module of one task, the way to run it, and how many instances run at a time. `ready` compiles and warms it."""

    def __init__(
        self, name: str, task: WasmTask, scratch: Path, ready: Callable[[], Awaitable[None]], execute: Execute,
        *, width: int, slowness: float,
    ) -> None:  # fmt: skip
        self.argv = [name, *task.args]
        self.env = list(task.env.items())
        self.limits = task.limits
        self.seconds = task.limits.timeout * slowness
        self.scratch = scratch
        self.ready = ready
        self.execute = execute
        self.width = width


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

    async def start(self) -> None:
        """Compile the module and start a worker."""
        await self._work.ready()

    async def run(self, item: StepInput) -> list[StepOutput]:
        """See Runner."""
        if not self._begun:
            self._begun = True
            self._log.begin()
        names = file_names(item.blobs)
        folders = Folders.fresh(self._work.scratch, shared=True, once=False)
        stderr = LogLines(self._log, "stderr")

        def take(stream: Output, data: bytes) -> None:
            stderr.feed(data, item.event.id)

        try:
            await in_thread(partial(_prepare, folders, item, names))
            call = self._call(encode_event(item.event, item.blobs, names), folders)
            limits = self._work.limits
            outcome = await self._work.execute(call, limits.outputs, partial(folders.overrun, limits), take)
            take("stderr", outcome.stderr)
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

    def _call(self, line: bytes, folders: Folders) -> Call:
        limits = self._work.limits
        return Call(
            argv=self._work.argv,
            stdin=line,
            seconds=self._work.seconds,
            memory=limits.memory,
            stdout=limits.stdout,
            stderr=limits.stderr,
            env=[*places(once=False).items(), *self._work.env],
            dirs=[
                Dir(str(folders.blobs), BLOBS.rstrip("/"), writable=False),
                Dir(str(folders.outputs), OUTPUTS.rstrip("/"), writable=True),
            ],
            follow=["stderr"],
        )

    def _only_line(self, stdout: bytes, event: str) -> bytes:
        lines = stdout.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        if len(lines) == 1:
            return lines[0]
        for line in lines[1:]:
            self._log.line(f"not an answer: {excerpt(line)}", "agent", event)
        text = (
            f"the program answered one event with {len(lines)} lines"
            if lines
            else "the program ended without an answer"
        )
        raise broken(text)


class WasmLauncher:
    """A Launcher of `once` programs."""

    kind = "wasm"

    def __init__(self, work: WasmWork) -> None:
        self._work = work

    async def check(self) -> None:
        """See Launcher."""
        await self._work.ready()

    def folders(self, *, once: bool) -> Folders:
        """See Launcher."""
        return Folders.fresh(self._work.scratch, shared=True, once=once)

    def seen_at(self, path: Path) -> str:
        """See Launcher."""
        return INPUTS

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> WasmProgram:
        """See Launcher."""
        work = self._work
        call = Call(
            argv=work.argv,
            stdin=b"",
            seconds=work.seconds,
            memory=work.limits.memory,
            stdout=MAX_LOG + MORE,
            stderr=MAX_LOG + MORE,
            env=[*places(once=True).items(), *work.env],
            dirs=[
                Dir(str(folders.root), "/", writable=False),
                Dir(str(folders.blobs), INPUTS.rstrip("/"), writable=False),
                Dir(str(folders.outputs), OUTPUTS.rstrip("/"), writable=True),
            ],
            follow=["stdout", "stderr"],
        )
        return WasmProgram(folders.root.name, call, work, listener)


class WasmProgram:
    """A Program: one instance in a worker, which is killed with it."""

    def __init__(self, name: str, call: Call, work: WasmWork, listener: Listener) -> None:
        self.id = name
        self._call = call
        self._work = work
        self._listener = listener
        self._usage: Usage | None = None
        self._task = asyncio.create_task(self._run(), name=f"WASM {name}")

    async def write(self, data: bytes) -> None:
        """Do nothing: its stdin is empty."""

    async def usage(self) -> Usage | None:
        """See Program; known when it has ended."""
        return self._usage

    async def kill(self) -> None:
        """See Program."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def close(self) -> None:
        """See Program."""
        await self.kill()

    async def _run(self) -> None:
        try:
            outcome = await self._work.execute(self._call, self._work.limits.outputs, None, self._take)
        except StepFailed as e:
            self._listener.fail(e)
            return
        except EdgeError as e:
            self._listener.ended(Ended(e.message, code=e.code))
            return
        self._take("stdout", outcome.stdout)
        self._take("stderr", outcome.stderr)
        self._usage = Usage(outcome.cpu, outcome.peak)
        text, code = describe(outcome, self._call)
        self._listener.ended(Ended(text, code, outcome.code if outcome.kind in ("ok", "exit") else None))

    def _take(self, stream: Output, data: bytes) -> None:
        (self._listener.stdout if stream == "stdout" else self._listener.stderr)(data)


def _prepare(folders: Folders, item: StepInput, names: list[str]) -> None:
    folders.make()
    folders.fill(item.blobs, names)
