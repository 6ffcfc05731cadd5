"""A check of this machine's WASM engine and its limits, with three small programs in a real worker."""

from __future__ import annotations

import time
from pathlib import Path

from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.wasm import probe_module
from agent.executors.wasm.available import engine_name
from agent.executors.wasm.cache import CompileCache
from agent.executors.wasm.child import Request
from agent.executors.wasm.sandbox import Call, Outcome
from agent.executors.wasm.worker import Worker

MEMORY = 8 << 20
"""Memory limit of the programs in bytes."""
PATIENCE = 60.0
"""Seconds for the programs that end: a worker's first run on a slow device."""
DEADLINE = 0.2
"""Time limit in seconds of the program that never ends."""
OUTPUT = 1 << 10


async def check_engine(folder: Path, engine: str = "") -> str:
    """Compile and run programs with an engine (this machine's by default), and see that it keeps time and memory limits.

    `folder` gets the modules and their compiled forms. Returns what was seen, in words. Raises StepFailed where a program
    does not do what it must.
    """
    name = engine or engine_name()
    cache = CompileCache(folder / "compiled", name)
    began = time.monotonic()
    outcome = await _run(cache, folder, name, "answers", probe_module.answers(), PATIENCE)
    if outcome is None or (outcome.kind, outcome.stdout) != ("ok", probe_module.ANSWER):
        raise broken(f"{name} does not run a simple program: {_words(outcome)}", code="wasm.worker")
    took = time.monotonic() - began
    outcome = await _run(cache, folder, name, "takes-memory", probe_module.takes_memory(), PATIENCE)
    if outcome is not None and outcome.kind != "trap":
        raise broken(f"{name} does not stop a program that takes more memory than its limit", code="wasm.worker")
    outcome = await _run(cache, folder, name, "never-ends", probe_module.never_ends(), DEADLINE)
    if outcome is not None and outcome.kind != "deadline":
        raise broken(f"{name} does not stop a program at its deadline: {_words(outcome)}", code="wasm.worker")
    return f"{name} runs a program ({took * 1000:.0f} ms with its compilation) and keeps the limits of time and memory"


async def _run(
    cache: CompileCache, folder: Path, engine: str, name: str, module: bytes, seconds: float
) -> Outcome | None:
    """The outcome in a new worker; None where a limit ended the worker with the program."""
    source = folder / f"{name}.wasm"
    source.write_bytes(module)
    compiled = await cache.compiled(source)
    call = Call([name], b"", seconds, MEMORY, OUTPUT, OUTPUT)
    worker = await Worker.start(engine)
    try:
        await worker.load(compiled)
        return await worker.call(Request(str(compiled), call), seconds, None)
    except StepFailed as e:
        if e.code in ("step.timeout", "wasm.worker") and name != "answers":
            return None
        raise
    finally:
        await worker.close()


def _words(outcome: Outcome | None) -> str:
    if outcome is None:
        return "its worker ended"
    return f"{outcome.kind} {outcome.code} {outcome.note}".strip()
