"""The worker of `once` processes: it starts a program, waits for it and records its end, even where the agent has died.

The kernel gives the exit code of a process to its parent only, so the parent must outlive a crash of the agent.
`worker.py` starts it as `python -m agent.executors.process.child FD` (a frozen agent: `edge-agent process-child FD`).
Messages (`agent.worker`) are msgpack: a Request in; a Started out, then a Result where the program started.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import msgspec

from agent.executors.process.limits import limit
from agent.executors.record import HANDLE, RESULT, STREAMS, Ended, Handle, ProcessId, Result, Usage, write_record
from agent.worker import PR_SET_PDEATHSIG, end_with_parent, outliving_parent, receive, send


class Request(msgspec.Struct, array_like=True):
    """Run a program, its record in the folder `root`. `seconds` and `grace` bound its time where no agent runs."""

    root: str
    command: list[str]
    environment: dict[str, str]
    cwd: str
    memory: int
    file_size: int
    seconds: float
    grace: float


class Started(msgspec.Struct, array_like=True):
    """The program's process, or the reason why it did not start."""

    process: ProcessId | None
    error: str = ""


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    if len(arguments) != 1:
        sys.stderr.write("this is the agent's worker of processes; it is started by the agent\n")
        return 2
    end_with_parent()
    with socket.socket(fileno=int(arguments[0])) as link:
        return serve(link)


def serve(link: socket.socket) -> int:
    """Answer requests until the parent closes its end of the socket."""
    me = ProcessId.of(os.getpid())
    while (raw := receive(link)) is not None:
        request = msgspec.msgpack.decode(raw, type=Request)
        with outliving_parent(request.seconds + request.grace):
            result = _run(link, request, me)
        if result is not None:
            _tell(link, result)
    return 0


def _tell(link: socket.socket, message: Started | Result) -> None:
    with suppress(OSError):  # the agent has died: the record has it
        send(link, msgspec.msgpack.encode(message))


def _run(link: socket.socket, request: Request, me: ProcessId) -> Result | None:
    """The end of the program; None where it did not start, which the parent has been told."""
    root = Path(request.root)
    try:
        process = _start(request, root)
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        _tell(link, Started(None, str(e)))
        return None
    began = time.monotonic()
    with _killed_when_late(process.pid) as late:
        program = ProcessId.of(process.pid)
        try:
            write_record(root, HANDLE, Handle.now(worker=me, program=program))
        except OSError:  # a fresh agent has deleted the folder of a program that it did not know
            _kill_group(process.pid)
        _tell(link, Started(program))
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # Its number is not used again before wait4: the rest of its group is killed and no other.
    _kill_group(process.pid)
    took = time.monotonic() - began
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    end = ended(process.returncode, took)
    if late:
        end = Ended(f"the program ran longer than its limit of {request.seconds:g} s", "step.timeout", took=took)
    result = Result(end, _usage(used))
    with suppress(OSError):
        write_record(root, RESULT, result)
    return result


def _start(request: Request, root: Path) -> subprocess.Popen[bytes]:
    stdout, stderr = (root / name for name in STREAMS)
    with stdout.open("ab") as out, stderr.open("ab") as err:
        return subprocess.Popen(
            request.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=request.environment,
            cwd=request.cwd,
            start_new_session=True,
            preexec_fn=lambda: _prepare(request),  # noqa: PLW1509  this process has one thread
        )


def _prepare(request: Request) -> None:
    """In the new process, before the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    limit(0, request.memory, request.file_size)


def _kill_group(number: int) -> None:
    with suppress(PermissionError):  # a program that became another user
        os.killpg(number, signal.SIGKILL)


@contextmanager
def _killed_when_late(number: int) -> Iterator[list[bool]]:
    """Kill the process group at SIGALRM within the block; the list is not empty then."""
    late: list[bool] = []

    def kill(_signal: int, _frame: FrameType | None) -> None:
        late.append(True)
        _kill_group(number)

    signal.signal(signal.SIGALRM, kill)
    try:
        yield late
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def ended(code: int, took: float | None = None) -> Ended:
    """The end of a process by its exit code as Python gives it: negative for a signal."""
    if code < 0:
        return Ended(f"the process was killed by signal {-code}", took=took)
    return Ended(f"the process exited with {code}", exit_code=code, took=took)


def _usage(used: resource.struct_rusage) -> Usage:
    """The program's use with that of its children; a memory below this worker's own is that of the fork, so unknown."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 if used.ru_maxrss > own else 0)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)
