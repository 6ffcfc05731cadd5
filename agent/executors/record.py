"""The record of a `once` program beside its folders: it tells the next run of the agent how to adopt the program.

The program's worker process writes it (for a container: the agent), so this module imports no asyncio.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.clock import boot_id
from agent.model.decoding import DAMAGED

T = TypeVar("T")

HANDLE = "handle"
"""File: what is needed to find the program, see Handle."""
RESULT = "result"
"""File: the end of the program, see Result."""
STREAMS = ("stdout", "stderr")
"""Files: the output of a program that a worker process carries out."""
MAX_RECORD = 64 << 10
"""Longest handle or result in bytes: a process can write its own."""


class Usage(msgspec.Struct, frozen=True):
    """The resources that a program used: CPU seconds, and the most memory in bytes; 0 where it is not known."""

    cpu: float
    memory: int

    def since(self, before: Usage | None) -> Usage:
        """This usage with the most memory of both."""
        return self if before is None else Usage(self.cpu, max(self.memory, before.memory))


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a program in words, its error code, and its exit code; None where it did not exit by itself.

    `took` is the time in seconds that it ran, where the program's worker or its engine measured that.
    """

    text: str
    code: str = "step.exit"
    exit_code: int | None = None
    took: float | None = None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a program, and its use of resources where that is known."""

    end: Ended
    usage: Usage | None = None


class ProcessId(msgspec.Struct, array_like=True, frozen=True):
    """A process: its number, and its start in clock ticks since the boot, as numbers are used again."""

    number: int
    started: str

    @classmethod
    def of(cls, number: int) -> ProcessId:
        """The process that has this number now; raises OSError."""
        return cls(number, _stat(number)[19])

    @property
    def alive(self) -> bool:
        """Whether it has not ended; a process that nobody has waited for has ended."""
        if self.number <= 1:  # the record of a hostile program: 0 is this process's own group
            return False
        with suppress(OSError, IndexError):
            facts = _stat(self.number)
            return facts[19] == self.started and facts[0] not in ("Z", "X")
        return False

    def kill_group(self) -> None:
        """Kill its process group, if it is alive."""
        if self.alive:
            with suppress(OSError):
                os.killpg(self.number, signal.SIGKILL)


class Handle(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A running program: its start by CLOCK_MONOTONIC in the boot with the id `boot`, and the way to find it.

    The time limits of asyncio count by the same clock: the sleep of a laptop is no time of a program.

    Only a `once` program is adopted. `worker` is the process that carries it out and `program` the program's own.
    """

    boot: str
    at: float
    once: bool = True
    container: str = ""
    worker: ProcessId | None = None
    program: ProcessId | None = None

    @classmethod
    def now(
        cls,
        *,
        once: bool = True,
        container: str = "",
        worker: ProcessId | None = None,
        program: ProcessId | None = None,
    ) -> Handle:
        """The handle of a program that starts now."""
        return cls(boot=boot_id(), at=time.monotonic(), once=once, container=container, worker=worker, program=program)

    @property
    def age(self) -> float:
        """Seconds since its start, at least 0: a process can forge its handle."""
        return max(0.0, time.monotonic() - self.at)

    @property
    def void(self) -> bool:
        """Whether the machine has started again since then: nothing of it runs."""
        return self.boot != boot_id()

    @property
    def alive(self) -> bool:
        """Whether one of its processes runs."""
        return not self.void and any(p.alive for p in (self.worker, self.program) if p is not None)

    def kill(self) -> None:
        """Kill its processes."""
        for process in (self.program, self.worker):
            if process is not None and not self.void:
                process.kill_group()


def write_record(root: Path, name: str, record: Handle | Result) -> None:
    """Write a file of the record; a reader sees all of it or nothing. Raises OSError."""
    part = root / f"{name}.part"
    part.write_bytes(msgspec.json.encode(record))
    part.replace(root / name)


def read_handle(root: Path) -> Handle | None:
    """The handle of the program in this folder; None where it is missing or damaged."""
    return _read(root / HANDLE, Handle)


def read_result(root: Path) -> Result | None:
    """The end of the program in this folder; None where it is missing or damaged."""
    return _read(root / RESULT, Result)


def open_regular(path: Path) -> int | None:
    """A descriptor of a regular file, for reading; None where it is missing, a link or something else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _read(path: Path, kind: type[T]) -> T | None:
    fd = open_regular(path)
    if fd is None:
        return None
    try:
        return msgspec.json.decode(os.read(fd, MAX_RECORD), type=kind)
    except (OSError, *DAMAGED):
        return None
    finally:
        os.close(fd)


def _stat(number: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the state, …; the 22nd of all is the start.

    The name before them may be any bytes.
    """
    return Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
