"""WASM by wasm3, for platforms without wasmtime: an interpreter.

It holds the GIL, cannot be interrupted and has no memory limit, so it runs in a worker only: the kernel bounds the
memory (`child.py`), the parent kills the worker at the deadline (`worker.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wasm3

from agent.executors.wasm.module_file import check_module
from agent.executors.wasm.preview1 import FUNCTIONS, REFUSED, Exit, Preview1
from agent.executors.wasm.sandbox import WASI, Call, Kind, Outcome, Program, Take, nothing
from agent.files import write_private

STACK = 256 * 1024
"""wasm3's own stack in bytes; the programs' is in their memory."""


class Wasm3:
    """The engine; nothing is compiled ahead, so the compiled form is the checked module itself."""

    def compile(self, module: Path, target: Path) -> None:
        """See Sandbox."""
        code = module.read_bytes()
        check_module(code)
        write_private(target, code)

    def load(self, compiled: Path) -> Program:
        """See Sandbox."""
        return Wasm3Program(compiled.read_bytes())

    def close(self) -> None:
        """Nothing to end."""


class Wasm3Program:
    """A module; parsed again for every run, which takes about a millisecond."""

    def __init__(self, code: bytes) -> None:
        self._code = code

    def run(self, call: Call, take: Take = nothing) -> Outcome:
        """See Program."""
        environment = wasm3.Environment()
        runtime = environment.new_runtime(STACK)
        wasi = Preview1(call, lambda: runtime.get_memory(0), take)
        peak = 0
        try:
            kind, code, note = self._start(environment, runtime, wasi)
            peak = len(runtime.get_memory(0) or b"")
        finally:
            wasi.close()
        if wasi.stdout.overrun or wasi.stderr.overrun:
            kind = "stdout" if wasi.stdout.overrun else "stderr"
        return Outcome(kind, code, wasi.stdout.rest(), wasi.stderr.rest(), note, peak=peak)

    def _start(self, environment: Any, runtime: Any, wasi: Preview1) -> tuple[Kind, int, str]:
        try:
            module = environment.parse_module(self._code)
            runtime.load(module)
            for name in (*FUNCTIONS, *REFUSED):
                module.link_function(WASI, name, wasi.function(name))
            runtime.find_function("_start")()
        except Exit as e:
            return ("exit" if e.code else "ok"), e.code, ""
        except RuntimeError as e:
            return "trap", -1, str(e)
        except MemoryError:
            return "trap", -1, "out of memory"
        return "ok", 0, ""
