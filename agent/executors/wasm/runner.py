"""A WASM step: one event, one fresh instance in a warm worker, with fresh `/blobs` and `/outputs`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.contract import BLOBS, OUTPUTS, broken, encode_event, file_names, parse_answer
from agent.executors.folders import Folders
from agent.executors.outputs import OutputFiles
from agent.executors.stderr import StderrLines
from agent.executors.wasm.sandbox import Call, Dir, Outcome, check_outcome
from agent.model.task import BlobWriter, LogSink, StepInput, StepOutput, WasmTask
from agent.threads import in_thread

Execute = Callable[[Call, int, Callable[[], str]], Awaitable[Outcome]]
"""Runs a call in a worker: (call, largest file in bytes, function that returns the overrun limit) → outcome."""


class WasmRunner:
    """A Runner over the executor's workers."""

    def __init__(
        self,
        name: str,
        task: WasmTask,
        blobs: BlobWriter,
        scratch: Path,
        *,
        ready: Callable[[], Awaitable[None]],
        execute: Execute,
        in_flight: int,
        slowness: float,
    ) -> None:
        self.in_flight = in_flight
        self._argv = [name, *task.args]
        self._limits = task.limits
        self._blobs = blobs
        self._scratch = scratch
        self._ready = ready
        self._execute = execute
        self._seconds = task.limits.timeout * slowness

    async def start(self) -> None:
        """Compile the module and start a worker."""
        await self._ready()

    async def run(self, item: StepInput, log: LogSink) -> list[StepOutput]:
        """See Runner."""
        names = file_names(item.blobs)
        folders = Folders(self._scratch / os.urandom(8).hex(), shared=True)
        tail = StderrLines()
        try:
            await in_thread(partial(_prepare, folders, item, names))
            call = self._call(encode_event(item.event, item.blobs, names), folders)
            limits = self._limits
            outcome = await self._execute(call, limits.outputs, partial(folders.overrun, limits))
            tail.feed(outcome.stderr, log)
            tail.flush(log)
            check_outcome(outcome, call)
            events = parse_answer(_only_line(outcome.stdout), item.event.id)
            with OutputFiles(item.blobs) as files:
                await in_thread(partial(files.open, events, folders.outputs, limits))
                return await files.store(folders.outputs, self._blobs, limits)
        except StepFailed as e:
            e.fields.update(tail.fields())
            raise
        finally:
            await in_thread(folders.remove)

    async def close(self) -> None:
        """Do nothing: the workers belong to the executor."""

    def _call(self, line: bytes, folders: Folders) -> Call:
        limits = self._limits
        return Call(
            argv=self._argv,
            stdin=line,
            seconds=self._seconds,
            memory=limits.memory,
            stdout=limits.stdout,
            stderr=limits.stderr,
            env=[("EDGE_BLOBS", BLOBS), ("EDGE_OUTPUTS", OUTPUTS)],
            dirs=[
                Dir(str(folders.blobs), BLOBS.rstrip("/"), writable=False),
                Dir(str(folders.outputs), OUTPUTS.rstrip("/"), writable=True),
            ],
        )


def _prepare(folders: Folders, item: StepInput, names: list[str]) -> None:
    folders.make()
    folders.fill(item.blobs, names)


def _only_line(stdout: bytes) -> bytes:
    lines = stdout.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if len(lines) != 1:
        raise broken(
            f"the program answered one event with {len(lines)} lines"
            if lines
            else "the program ended without an answer"
        )
    return lines[0]
