"""The demo's child processes: each has its session and its log. They end together, also when the demo dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.waiting import DemoError

GRACE = 10.0
"""Seconds that children have to end after SIGTERM."""
LAST_LINES = 12
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """A process and its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        """The end of its log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        except OSError as e:
            lines = [str(e)]
        return "\n".join(f"  {self.name}: {line}" for line in lines)


class Children:
    """All processes of a demo. Start them from the main thread: the death signal comes when the forking thread ends."""

    def __init__(self) -> None:
        self.all: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str | Path], log: Path) -> Child:
        """Start a process; raises DemoError when it cannot be started."""
        parent = os.getpid()
        with log.open("ab") as out:
            try:
                process = subprocess.Popen(
                    [str(c) for c in command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=_environment(),
                    start_new_session=True,
                    # Safe here: no other thread runs that could hold a lock during the fork.
                    preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509
                )
            except OSError as e:
                raise DemoError(f"cannot start {command[0]}: {e.strerror}", hint="run make demo to set it up") from e
        self.all[name] = Child(name, process, log)
        return self.all[name]

    def check(self) -> None:
        """Raise DemoError if a process has ended by itself."""
        for child in self.all.values():
            if (code := child.process.poll()) is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                raise DemoError(f"{child.name} {how}; its last lines:\n{child.last_lines()}", hint=f"see {child.log}")

    def last_lines(self, who: Sequence[str] = ()) -> str:
        """The last lines of the named logs, by default of all."""
        return "\n".join(c.last_lines() for c in self.all.values() if not who or c.name in who)

    def stop(self) -> None:
        """End all: SIGTERM first, SIGKILL after GRACE seconds or on another Ctrl-C."""
        for child in self.all.values():
            child.process.terminate()
        end = time.monotonic() + GRACE
        try:
            for child in self.all.values():
                child.process.wait(max(0.0, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass
        finally:
            for child in self.all.values():
                _kill_group(child.process)
            for child in self.all.values():
                child.process.wait()
            self.all.clear()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the rest of a child's process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment() -> dict[str, str]:
    """The caller's environment without the settings of another agent or sink; those of Slack stay."""
    foreign = ("EDGE_AGENT_", "EDGE_SINK_DATA", "EDGE_SINK_DB", "EDGE_SINK_HOST", "EDGE_SINK_PORT", "EDGE_SINK_URL")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign) or k == "EDGE_AGENT_DEBUG"}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _die_with(parent: int) -> None:
    """Run in the child before exec: the child gets SIGTERM when the demo dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # the demo died before the call
        os._exit(1)
