"""Process programs: plain executables of this host, in a process group for each program."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from pathlib import Path

from agent.environment import clean_environment
from agent.errors import StepFailed
from agent.executors.folders import Folders
from agent.executors.kept import Kept, end_processes
from agent.executors.once import MAX_LOG, MORE
from agent.executors.pool import WORKER_REST, Pool
from agent.executors.process.child import Request
from agent.executors.process.process import Process, spawn
from agent.executors.process.worker import ProcessWorker
from agent.executors.program import Listener, Program
from agent.executors.record import HANDLE, Handle, ProcessId, Result, write_record
from agent.executors.worker_program import WorkerProgram, adopt
from agent.model.task import ProcessTask

GRACE = 3.0
"""Seconds beyond a program's limit after which its worker kills it, where no agent does."""
MAX_WORKERS = 1 << 10
"""More than the runners start at a time."""


class ProcessExecutor:
    """Runs executables of this host; `scratch` holds their folders.

    Warm programs of the previous run are killed first; its `once` programs can be adopted until `give_up_left`.
    """

    def __init__(self, scratch: Path) -> None:
        self._kept = Kept(scratch)
        for handle in self._kept.others:
            handle.kill()
        self._kept.clear()
        self._scratch = scratch
        self._workers = Pool(ProcessWorker.start, MAX_WORKERS, rest=WORKER_REST)

    def launcher(self, task: ProcessTask) -> ProcessLauncher:
        """Starts the task's program."""
        return ProcessLauncher(self._scratch, task, self._workers, self._kept)

    async def give_up_left(self) -> None:
        """End the `once` programs of the previous run that nothing has adopted."""
        await self._kept.give_up(end_processes)

    async def close(self) -> None:
        """Kill the idle workers, and what nothing has adopted; runners must be closed before."""
        await self.give_up_left()
        await self._workers.close()


class ProcessLauncher:
    """A Launcher. The programs see real folders of the host."""

    kind = "process"

    def __init__(self, scratch: Path, task: ProcessTask, workers: Pool[ProcessWorker], kept: Kept) -> None:
        self._scratch = scratch
        self._task = task
        self._workers = workers
        self._kept = kept

    async def check(self) -> None:
        """See Launcher."""
        if not self._task.command:
            raise StepFailed("the process has no command", final=True, hint="give process.command a program")

    def folders(self, once: str = "") -> Folders:
        """See Launcher. The program has the rights to change its input files, so they are copies."""
        return Folders.of(self._scratch, once, shared=False)

    def seen_at(self, path: Path) -> str:
        """See Launcher."""
        return f"{path}/"

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> Program:
        """See Launcher."""
        await self.check()
        places = {"EDGE_INPUTS" if once else "EDGE_BLOBS": f"{folders.blobs}/", "EDGE_OUTPUTS": f"{folders.outputs}/"}
        if once:
            return await self._open_once(folders, listener, places | {"EDGE_EVENT": str(folders.event)})
        return await self._open_warm(folders, listener, places)

    async def adopt(self, folders: Folders, listener: Listener) -> WorkerProgram | None:
        """See Launcher."""
        return await adopt(self._kept, folders, listener)

    async def _open_warm(self, folders: Folders, listener: Listener, places: dict[str, str]) -> Process:
        process = await spawn(self._task, folders, listener, clean_environment(**self._task.env | places))
        with suppress(OSError):  # it may have ended already
            handle = Handle.now(once=False, program=ProcessId.of(int(process.id)))
            write_record(folders.root, HANDLE, handle)
        return process

    async def _open_once(self, folders: Folders, listener: Listener, places: dict[str, str]) -> WorkerProgram:
        limits = self._task.limits
        request = Request(
            root=str(folders.root),
            command=self._task.command,
            environment=clean_environment(**self._task.env | places),
            cwd=str(folders.outputs),
            memory=limits.memory,
            # Its stdout and stderr are files, too.
            file_size=max(limits.outputs, MAX_LOG + MORE),
            seconds=limits.timeout,
            grace=GRACE,
        )
        async with AsyncExitStack() as stack:
            worker = await stack.enter_async_context(self._workers.lend())
            process = await worker.begin(request)
            lent = stack.pop_all()

        async def run() -> Result:
            async with lent:
                return await worker.result()

        return WorkerProgram(folders, listener, run(), process=process)
