"""The interface between the step contract and a WASM engine: the input of a run and its outcome.

There are two engines: wasmtime (`sandbox_wasmtime.py`) and, where wasmtime does not exist, wasm3 (`sandbox_wasm3.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from agent.errors import StepFailed
from agent.executors.record import Ended, Result, Usage

WASI = "wasi_snapshot_preview1"
"""The only module that programs may import from: WASI preview 1 (WebAssembly/WASI, `preview1/docs.md`)."""
Kind = Literal["ok", "exit", "trap", "deadline", "stdout", "stderr", "error"]
Output = Literal["stdout", "stderr"]
Take = Callable[[Output, bytes], None]


def nothing(stream: Output, data: bytes) -> None:
    """Takes no output."""


class Dir(msgspec.Struct, array_like=True, frozen=True):
    """A folder of the host that the program sees at `guest`."""

    host: str
    guest: str
    writable: bool


class Call(msgspec.Struct, array_like=True, frozen=True):
    """One run of a program. `seconds` and the sizes in bytes are limits. `follow`: its streams that are read while it runs.

    With `root` its output goes to the files `stdout` and `stderr` in this folder, and none of it comes with the outcome.
    """

    argv: list[str]
    stdin: bytes
    seconds: float
    memory: int
    stdout: int
    stderr: int
    env: list[tuple[str, str]] = []
    dirs: list[Dir] = []
    follow: list[Output] = []
    root: str = ""


class Outcome(msgspec.Struct, array_like=True):
    """The end of a run; `note` describes traps and errors. `full` is set where its memory reached the limit.

    `stdout` and `stderr` are the rest of what was not given to `take`; `cpu` is in seconds, `peak` memory in bytes.
    """

    kind: Kind
    code: int
    stdout: bytes
    stderr: bytes
    note: str = ""
    full: bool = False
    cpu: float = 0.0
    peak: int = 0


class Program(Protocol):
    """A compiled module."""

    def run(self, call: Call, take: Take = nothing) -> Outcome:
        """Run it in a fresh instance; blocks until it ends or overruns a limit.

        `take` gets whole lines (of very long lines: pieces) of the streams in `call.follow` while it runs, perhaps in another
        thread.
        """
        ...


class Sandbox(Protocol):
    """Runs modules with one WASM engine."""

    def compile(self, module: Path, target: Path) -> None:
        """Check a module and write its compiled form; raises StepFailed (`wasm.invalid`) with the reason."""
        ...

    def load(self, compiled: Path) -> Program:
        """Load a file of `compile`; raises StepFailed (`wasm.stale`) where another engine or version wrote it."""
        ...

    def close(self) -> None:
        """End its threads."""
        ...


def invalid(text: str) -> StepFailed:
    """The failure of a module that can run nowhere; it is not retried."""
    return StepFailed(
        text,
        final=True,
        code="wasm.invalid",
        hint="build it as a WASI preview 1 command; see docs/write-your-own-filter.md",
    )


def check_outcome(outcome: Outcome, call: Call) -> None:
    """Raise StepFailed, naming the limit where one ended the run, unless it ended well."""
    if outcome.kind != "ok":
        text, code = describe(outcome, call)
        keys = {"step.timeout": "wasm.timeout", "step.exit": "wasm.memory", "step.trap": "wasm.memory"}
        limit = f", or raise {keys[code]} of the step" if code in keys else ""
        raise StepFailed(text, code=code, hint=f"see its log lines{limit}")


def result(outcome: Outcome, call: Call, took: float) -> Result:
    """The end of a `once` program that ran for `took` seconds."""
    text, code = describe(outcome, call)
    exit_code = outcome.code if outcome.kind in ("ok", "exit") else None
    return Result(Ended(text, code, exit_code, took), Usage(outcome.cpu, outcome.peak))


def describe(outcome: Outcome, call: Call) -> tuple[str, str]:
    """The end of a run in words, and its error code."""
    match outcome.kind:
        case "ok" | "exit":
            text, code = f"the program exited with {outcome.code}", "step.exit"
        case "trap":
            text, code = f"the program crashed: {outcome.note or 'trap'}", "step.trap"
        case "deadline":
            text, code = f"the program ran longer than its limit of {call.seconds:g} s", "step.timeout"
        case "stdout":
            text, code = f"the program wrote more than its limit of {call.stdout} bytes to stdout", "step.stdout"
        case "stderr":
            text, code = f"the program wrote more than its limit of {call.stderr} bytes to stderr", "step.stderr"
        case _:
            text, code = f"the program could not run: {outcome.note}", "step.failed"
    if outcome.full:
        text += f" (its memory had reached the limit of {call.memory} bytes)"
    return text, code
