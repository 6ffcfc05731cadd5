"""Process programs: the step contract for a plain executable of this host, in a process group per step."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.environment import clean_environment
from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.dialogue import Dialogue
from agent.executors.folders import Folders, clear_leftovers, outputs_failure
from agent.executors.warm import WarmProgram, WarmRunner
from agent.model.task import BlobWriter, Limits, LogSink, ProcessTask, Runner
from agent.threads import in_thread

DESCRIPTORS = 256
LOOK = 0.1
"""Seconds between looks at the size of the outputs folder while an event is open."""
LAST_WORDS = 0.25
"""Seconds to wait for the rest of an ended process's output."""
_PIECE = 1 << 16


class ProcessExecutor:
    """Runs executables of this host; `scratch` holds their folders and is emptied first."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = clear_leftovers(scratch)

    def runner(self, task: ProcessTask, blobs: BlobWriter) -> Runner:
        """A step's warm process, not yet started."""
        return _ProcessRunner(self._scratch, task, blobs)


class _ProcessRunner(WarmRunner):
    def __init__(self, scratch: Path, task: ProcessTask, blobs: BlobWriter) -> None:
        super().__init__(task.command[0] if task.command else "process", task.limits, blobs)
        self._scratch = scratch
        self._task = task

    async def _open(self) -> WarmProgram:
        if not self._task.command:
            raise StepFailed("the process has no command", final=True, hint="give `command` a program")
        folder = self._scratch / os.urandom(8).hex()
        folders = Folders(folder, shared=False)
        try:
            await in_thread(folders.make)
            return await _Process.spawn(self._task, folders)
        except BaseException:
            await in_thread(folders.remove)
            raise

    def _seen_at(self, program: WarmProgram) -> str:
        return f"{program.folders.blobs}/"


class _Process:
    """A process in a new session; `path` of its blobs and EDGE_OUTPUTS are real paths of the host."""

    def __init__(self, process: asyncio.subprocess.Process, folders: Folders, limits: Limits) -> None:
        assert process.stdin is not None
        self.folders = folders
        self.dialogue = Dialogue(process.stdin, limits)
        self._process = process
        self._limits = limits
        self._follower = asyncio.create_task(self._follow(), name=f"process {process.pid} output")

    @classmethod
    async def spawn(cls, task: ProcessTask, folders: Folders) -> _Process:
        """Start it; raises StepFailed when it does not start."""
        places = {"EDGE_BLOBS": f"{folders.blobs}/", "EDGE_OUTPUTS": f"{folders.outputs}/"}
        try:
            process = await asyncio.create_subprocess_exec(
                *task.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=clean_environment(**places, **task.env),
                cwd=folders.outputs,
                start_new_session=True,
                limit=_PIECE,
            )
        except (OSError, ValueError) as e:
            raise broken(f"{task.command[0]} does not start: {e}", code="step.start", hint="check `command`") from e
        _limit(process.pid, task.limits)
        return cls(process, folders, task.limits)

    async def ask(self, line: bytes, seconds: float, log: LogSink) -> bytes:
        """See Dialogue.ask; its outputs folder is watched meanwhile."""
        watch = asyncio.create_task(self._watch())
        try:
            return await self.dialogue.ask(line, seconds, log)
        finally:
            watch.cancel()
            await asyncio.wait({watch})

    async def close(self) -> None:
        """Kill its process group and remove its folders."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._follower.cancel()
        await asyncio.wait({self._follower})
        # Frees the pipes even where a grandchild that left the group still holds their other ends.
        self._process._transport.close()  # type: ignore[attr-defined]
        await self._process.wait()
        await in_thread(self.folders.remove)

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(self._process.stdout, self.dialogue, self.dialogue.stdout))
            group.create_task(_pump(self._process.stderr, self.dialogue, self.dialogue.stderr))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), LAST_WORDS)
        self._ended()

    def _ended(self) -> None:
        code = self._process.returncode
        if code is None:
            self.dialogue.ended("the process closed its stdout and stderr")
        else:
            self.dialogue.ended(f"the process {f'was killed by signal {-code}' if code < 0 else f'exited with {code}'}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if overrun := await asyncio.to_thread(self.folders.overrun, self._limits):
                self.dialogue.fail(outputs_failure(overrun))
                return
            if self._process.returncode is not None:
                # A grandchild may hold the pipes open, so that their end never comes.
                await asyncio.sleep(LAST_WORDS)
                self._ended()
                return


async def _pump(stream: asyncio.StreamReader, dialogue: Dialogue, take: Callable[[bytes], None]) -> None:
    while dialogue.broken is None and (data := await stream.read(_PIECE)):
        take(data)


def _limit(pid: int, limits: Limits) -> None:
    """Resource limits from outside: they hold from its first moments on and reach its children.

    RLIMIT_DATA bounds private memory; RLIMIT_AS would count addresses that run-times reserve and never use.
    """
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory, limits.memory))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits.outputs, limits.outputs))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
