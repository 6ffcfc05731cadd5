"""The interface of every machine that a test drives, real or made here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Failed(AssertionError):
    """A command on a machine ended with another exit code than 0."""


@dataclass(frozen=True)
class Done:
    """The end of a command: its exit code, and its output as text."""

    code: int
    stdout: str
    stderr: str

    def text(self) -> str:
        """The standard output; raises Failed with both outputs where the exit code is not 0."""
        if self.code:
            raise Failed(f"exit code {self.code}\n{self.stdout[-4000:]}\n{self.stderr[-4000:]}")
        return self.stdout


class Machine(Protocol):
    """A machine. A command that is text goes to `sh -c`, a list is run as it is; both as root."""

    def run(self, command: str | list[str], input: bytes = b"", *, timeout: float = 60.0) -> Done:
        """Run a command to its end; raises subprocess.TimeoutExpired after `timeout` seconds."""
        ...

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """Write a file; a folder is copied with its content."""
        ...

    def get(self, path: str) -> bytes:
        """The content of a file; raises Failed where there is none."""
        ...

    def restart(self) -> None:
        """Cut the power and start again: no program is told; returns when the machine answers."""
        ...

    def close(self) -> None:
        """End the machine and delete everything that was made for it."""
        ...
