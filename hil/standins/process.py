"""A child process that can be cut off like power, and that dies with the tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hil.standins.errors import DeviceError

LAST = 4000
"""Characters of the log that an error shows."""


class Process:
    """A program in a session of its parent's making; its output goes to a log.

    The kernel kills it when the test process ends in any way, also by SIGKILL (setpriv(1), --pdeathsig).
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            try:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise DeviceError(f"cannot start {command[0]}: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LAST:]

    def kill(self) -> None:
        """SIGKILL to it and to its group; returns when it has ended."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
