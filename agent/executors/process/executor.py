"""Process programs: plain executables of this host, in a process group for each program."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.folders import Folders, clear_leftovers
from agent.executors.process.process import Process, spawn
from agent.executors.program import Listener
from agent.model.task import ProcessTask

PID = "process"
"""File beside a program's folders with the number and the start of its process."""


class ProcessExecutor:
    """Runs executables of this host; `scratch` holds their folders. Programs of the previous run are killed first."""

    def __init__(self, scratch: Path) -> None:
        if scratch.is_dir():
            kill_leftovers(scratch)
        self._scratch = clear_leftovers(scratch)

    def launcher(self, task: ProcessTask) -> ProcessLauncher:
        """Starts the task's program."""
        return ProcessLauncher(self._scratch, task)


class ProcessLauncher:
    """A Launcher. The programs see real folders of the host."""

    kind = "process"

    def __init__(self, scratch: Path, task: ProcessTask) -> None:
        self._scratch = scratch
        self._task = task

    async def check(self) -> None:
        """See Launcher."""
        if not self._task.command:
            raise StepFailed("the process has no command", final=True, hint="give process.command a program")

    def folders(self, *, once: bool) -> Folders:
        """See Launcher. The program has the rights to change its input files, so they are copies."""
        return Folders.fresh(self._scratch, shared=False, once=once)

    def seen_at(self, path: Path) -> str:
        """See Launcher."""
        return f"{path}/"

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> Process:
        """See Launcher."""
        await self.check()
        inputs = "EDGE_INPUTS" if once else "EDGE_BLOBS"
        environment = {inputs: f"{folders.blobs}/", "EDGE_OUTPUTS": f"{folders.outputs}/"}
        if once:
            environment["EDGE_EVENT"] = str(folders.event)
        process = await spawn(self._task, folders, listener, environment, once=once)
        with suppress(OSError):  # it may have ended already
            (folders.root / PID).write_text(f"{process.id} {_started(process.id)}")
        return process


def kill_leftovers(scratch: Path) -> None:
    """Kill the processes that a killed agent left behind: they write into folders that nothing reads."""
    for file in scratch.glob(f"*/{PID}"):
        with suppress(OSError, ValueError):
            number, started = file.read_text().split()
            if _started(number) == started:
                os.killpg(int(number), signal.SIGKILL)


def _started(number: str) -> str:
    """When the process started, in clock ticks since the boot (proc_pid_stat(5), field 22); raises OSError."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
