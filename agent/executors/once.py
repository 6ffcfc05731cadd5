"""A Runner that starts a fresh program for each event: arguments and files in, files and an exit code out.

A program that outlived a crash of the agent is adopted instead, when its event runs again.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent.errors import EdgeError, StepFailed
from agent.executors.contract import (
    OUTPUTS,
    CheckedEvent,
    ReplyBlob,
    broken,
    check_blob,
    check_size,
    encode_event,
    file_names,
)
from agent.executors.folders import Folders
from agent.executors.log_lines import LogLines, log_failure
from agent.executors.outputs import OutputFiles
from agent.executors.program import Launcher, Program, watched
from agent.executors.record import Ended, Usage
from agent.model.event import MAX_BLOBS
from agent.model.task import BlobWriter, Limits, StepInput, StepLog, StepOutput, Stream
from agent.threads import in_thread

DONE = "program.done"
"""Type of the event that a `once` program makes by ending well."""
MAX_LOG = 16 << 20
"""Most bytes that one program may write to stdout, and to stderr."""
LINE = 64
"""Bytes for which each of its lines counts at least: a log line costs the agent more than a byte of it."""
MORE = 1 << 16
"""Bytes beyond MAX_LOG for which a file of output has room: the agent ends a program that goes beyond."""
ADOPTED = "taken up again after a restart of the agent; its output follows from its start"
USAGE_LOOKS = (0.2, 1.0)
"""Seconds until the first look at the resources that it uses, and between the others."""


class Names:
    """The names of folders in use: equal for equal work, so that the next run of the agent finds them."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    @contextmanager
    def of(self, work: bytes, event: str) -> Iterator[str]:
        """A name for this work on this event, which no other caller gets within the block."""
        name = hashlib.sha256(work + b"\0" + event.encode()).hexdigest()[:32]
        free = next(n for n in (name, *(f"{name}-{i}" for i in range(1, len(self._used) + 1))) if n not in self._used)
        self._used.add(free)
        try:
            yield free
        finally:
            self._used.discard(free)


class OnceRunner:
    """Runs up to `in_flight` programs at a time. `work` tells its programs from those of other steps."""

    start_failure = None

    def __init__(
        self, launcher: Launcher, limits: Limits, blobs: BlobWriter, log: StepLog, work: bytes, names: Names, *, in_flight: int
    ) -> None:  # fmt: skip
        self.in_flight = in_flight
        self._launcher = launcher
        self._limits = limits
        self._blobs = blobs
        self._log = log
        self._work = work
        self._names = names
        self._runs: set[_Run] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False

    @property
    def running(self) -> int:
        """How many programs run now."""
        return len(self._runs)

    async def start(self) -> None:
        """Check that the program can be started; raises Unreachable, NotFound, StepFailed."""
        await self._launcher.check()

    async def run(self, item: StepInput) -> list[StepOutput]:
        """See Runner; may raise Unreachable or NotFound too, which use up no attempt."""
        if self._stopped:
            raise broken("the step is being stopped", code="step.stopped")
        run = _Run(self._log, item.event.id)
        self._runs.add(run)
        self._idle.clear()
        try:
            with self._names.of(self._work, item.event.id) as name:
                return await self._run(run, item, self._launcher.folders(name))
        except StepFailed as e:
            run.tell(e)
            e.fields.update(run.fields())
            raise
        except EdgeError as e:
            run.note(e.message)
            raise
        finally:
            self._runs.discard(run)
            if not self._runs:
                self._idle.set()

    async def close(self) -> None:
        """End the programs; their events fail."""
        self._stopped = True
        for run in list(self._runs):
            run.fail(broken("the step is being stopped", code="step.stopped"))
        await self._idle.wait()

    async def _run(self, run: _Run, item: StepInput, folders: Folders) -> list[StepOutput]:
        program = await self._launcher.adopt(folders, run)  # Unreachable: it may run, so its folders stay
        adopted = program is not None
        try:
            if program is None:
                await in_thread(partial(self._prepare, folders, item))
                async with run.stopped_by_failure():
                    program = await self._launcher.open(folders, run, once=True)
            run.begin()
            if adopted:
                run.note(ADOPTED)
            began = time.monotonic() - program.age
            try:
                end = await self._wait(run, program, folders)
                took = time.monotonic() - began
                usage = await program.usage()
            finally:
                await asyncio.shield(program.close())
            if adopted and end.took is not None:  # perhaps it ended before
                took = end.took
            failure = None if end.exit_code == 0 else self._failed(end)
            run.note(f"{end.text} after {took:.1f} s", failure)
            if adopted and took > self._limits.timeout:
                raise self._late()
            if failure is not None:
                raise failure
            return await self._outputs(item, folders, _measured(end, took, usage))
        finally:
            await in_thread(folders.remove)

    def _prepare(self, folders: Folders, item: StepInput) -> None:
        names = file_names(item.blobs)
        folders.make_again()
        folders.fill(item.blobs, names)
        folders.tell(encode_event(item.event, item.blobs, names, self._launcher.seen_at(folders.blobs)))

    async def _wait(self, run: _Run, program: Program, folders: Folders) -> Ended:
        """Wait for the end, at most `timeout` seconds; raises StepFailed where a limit ended it."""
        limits, busy = self._limits, asyncio.Event()
        busy.set()
        async with watched(program, folders, limits, run, self._launcher.kind, busy):
            try:
                async with asyncio.timeout(limits.timeout - program.age):
                    pause, later = USAGE_LOOKS
                    while not (await asyncio.wait({run.end}, timeout=pause))[0]:
                        await program.usage()
                        pause = later
            except TimeoutError:
                run.fail(self._late())
            return await run.end

    def _failed(self, end: Ended) -> StepFailed:
        hint = "see the program's log lines"
        if end.code in ("step.exit", "step.trap"):
            hint += f", or raise {self._launcher.kind}.memory of the step"
        return broken(end.text, code=end.code, hint=hint)

    def _late(self) -> StepFailed:
        hint = f"raise {self._launcher.kind}.timeout of the step, or see its log for where it hangs"
        text = f"the program ran longer than its limit of {self._limits.timeout:g} s"
        return broken(text, code="step.timeout", hint=hint)

    async def _outputs(self, item: StepInput, folders: Folders, measured: dict[str, Any]) -> list[StepOutput]:
        limits = self._limits
        with OutputFiles(item.blobs) as files:
            await in_thread(partial(self._open, files, item, folders, measured))
            return await files.store(folders.outputs, self._blobs, limits)

    def _open(self, files: OutputFiles, item: StepInput, folders: Folders, measured: dict[str, Any]) -> None:
        names = folders.taken(self._limits)
        if len(names) > MAX_BLOBS:
            text = f"the program wrote {len(names)} files, an event holds {MAX_BLOBS}"
            raise broken(text, code="step.outputs", hint="put the files into one archive, or write fewer")
        data = {k: v for k, v in item.event.data.items() if k != "blobs"} | {"program": measured}
        check_size(data, f"the event {DONE}")
        blobs = [_blob(name) for name in names]
        files.open([CheckedEvent(DONE, data, blobs)], folders.outputs, self._limits, self._launcher.kind)


class _Run:
    """The Listener of one program; `end` is done when it has ended.

    `log` is that of the step until the program is there. Then it gets its own: a start that fails is no execution.
    """

    def __init__(self, log: StepLog, event: str) -> None:
        self._log = log
        self._event = event
        self._out, self._err = LogLines(log, "stdout"), LogLines(log, "stderr")
        self._written: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        self._begun = False
        self._told: StepFailed | None = None
        self._start: asyncio.Timeout | None = None
        self.end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """The program is there: what follows is in the log of a new execution. Its output may be here first."""
        if self._begun:
            return
        self._begun = True
        self._log = self._log.begin()
        self._out, self._err = LogLines(self._log, "stdout"), LogLines(self._log, "stderr")

    @asynccontextmanager
    async def stopped_by_failure(self) -> AsyncIterator[None]:
        """`fail` cancels the block; the failure is raised then."""
        if self.end.done():
            await self.end
        try:
            async with asyncio.timeout(None) as self._start:
                yield
        except TimeoutError:
            if self._start is None or not self._start.expired():
                raise
            await self.end
        finally:
            self._start = None

    def stdout(self, data: bytes) -> None:
        self._take("stdout", data)

    def stderr(self, data: bytes) -> None:
        self._take("stderr", data)

    def _take(self, stream: Stream, data: bytes) -> None:
        if self.end.done():
            return
        self.begin()
        self._written[stream] += max(len(data), LINE * data.count(b"\n"))
        if self._written[stream] <= MAX_LOG:
            (self._out if stream == "stdout" else self._err).feed(data, self._event)
        else:
            text = f"the program wrote more than {MAX_LOG} bytes to {stream}; a line counts for at least {LINE}"
            self.fail(broken(text, code=f"step.{stream}"))

    def ended(self, end: Ended) -> None:
        if not self.end.done():
            self.begin()
            self._flush()
            self.end.set_result(end)

    def fail(self, error: StepFailed) -> None:
        if not self.end.done():
            self._flush()
            self.tell(error)
            self.end.set_exception(error)
            self.end.exception()  # perhaps the program is being started, and nobody waits for its end
            if self._start is not None:
                self._start.reschedule(0.0)

    def note(self, text: str, failure: StepFailed | None = None) -> None:
        """Write a line, which tells this failure."""
        self._log.line(text, "agent", self._event)
        self._told = failure

    def tell(self, error: StepFailed) -> None:
        """Write the failure to the log, unless a line has told it."""
        if error is not self._told:
            log_failure(self._log, error, self._event)
            self._told = error

    def fields(self) -> dict[str, Any]:
        """The fields of a failure: the program's last log lines."""
        return self._err.fields() or self._out.fields()

    def _flush(self) -> None:
        self._out.flush(self._event)
        self._err.flush(self._event)


def _measured(end: Ended, took: float, usage: Usage | None) -> dict[str, Any]:
    made: dict[str, Any] = {"exit_code": end.exit_code, "run_ms": round(took * 1e3, 1)}
    if usage is not None:
        made["cpu_ms"] = round(usage.cpu * 1e3, 1)
        if usage.memory:
            made["memory"] = usage.memory
    return made


def _blob(path: str) -> ReplyBlob:
    """The blob of a file below the outputs folder; raises StepFailed where its name cannot be a blob's."""
    name = Path(path).name
    media_type = mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"
    blob = ReplyBlob(name=name, type=media_type, path=OUTPUTS + path)
    check_blob(blob, "an output file", code="step.outputs")
    return blob
