"""`once` programs: a WASM module over its program's own time, and a container against `docker run` of the same.

The WASM program does nothing, so its own time is that of its instance; the step adds its folders, the worker and the event. The
container does nothing either; `docker run` on this machine has the same isolation by its options. The two take turns.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agent.blobs import BlobStore
from agent.executors import DockerExecutor, Executors, NoLog, Policy, ProcessExecutor, WasmExecutor
from agent.model.event import Event
from agent.model.task import DockerTask, Runner, StepInput, WasmTask
from bench.agents import ROOT
from bench.figure import Figure, Missing, spread

IMAGE = "edge/base:bookworm"
"""The base of the detector's image."""
OPTIONS = (
    "--rm", "--init", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534",
    "--tmpfs=/tmp", "--log-driver=none",
)  # fmt: skip


def _event(number: int) -> StepInput:
    return StepInput(Event(id=f"e{number}", source="/n/p/s", type="t", time="2026-01-01T00:00:00Z", data={}))


async def _times(
    runner: Runner, rounds: int, other: Callable[[], float] | None = None
) -> tuple[list[float], list[float]]:
    """Milliseconds of each run, and of `other` between them."""
    mine, others = [], []
    await runner.start()
    try:
        for number in range(rounds + 2):
            began = time.perf_counter()
            (made,) = await runner.run(_event(number))
            took = (time.perf_counter() - began) * 1e3
            mine.append(took - (made.data["program"]["cpu_ms"] if other is None else 0.0))
            if other is not None:
                others.append(await asyncio.to_thread(other))
    finally:
        await runner.close()
    return mine[2:], others[2:]


def _docker_run(image: str) -> float:
    began = time.perf_counter()
    subprocess.run(["docker", "run", *OPTIONS, image, "true"], check=True, capture_output=True)
    return (time.perf_counter() - began) * 1e3


async def _measure(rounds: int, module: Path, image: str) -> tuple[list[float], list[float], list[float]]:
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        store = BlobStore(folder / "blobs", 1 << 30)
        wasm, docker = WasmExecutor(folder / "cache", folder / "scratch"), DockerExecutor("bench", folder / "docker")
        executors = Executors(wasm, docker, ProcessExecutor(folder / "process"), Policy(), store)
        try:
            task = WasmTask(module="once", once=True)
            mine, _ = await _times(executors.runner(task, "once", NoLog(), module), rounds)
            if not image:
                return mine, [], []
            container = DockerTask(image=image, args=["true"], once=True)
            ours, theirs = await _times(
                executors.runner(container, "once", NoLog()), max(5, rounds // 10), lambda: _docker_run(image)
            )
            return mine, ours, theirs
        finally:
            await wasm.close()
            await docker.close()
            store.close()


def _image() -> str:
    """An image of this machine that has `true`; empty without an engine or such an image."""
    found = subprocess.run(["docker", "images", "-q", IMAGE], check=False, capture_output=True, text=True)
    return found.stdout.split("\n")[0] if found.returncode == 0 else ""


def measure(*, quick: bool = False) -> list[Figure | Missing]:
    """Both figures."""
    module = ROOT / "build/filters/wifi-join.wasm"
    try:
        image = _image()
    except OSError:
        image = ""
    mine, ours, theirs = asyncio.run(_measure(30 if quick else 200, module, image))
    made: list[Figure | Missing] = [
        Figure(
            name="once-wasm",
            what="a `once` WASM step over its program's own time, p50",
            figure=spread(mine, 2)["p50"],
            goal=10.0,
            unit="ms",
            sense="at most",
            bound_by="not profiled",
            details={"ms": spread(mine, 2)},
        )
    ]
    if not ours:
        made.append(Missing(name="once-docker", why="no Docker engine with the image edge/base answers"))
        return made
    made.append(
        Figure(
            name="once-docker",
            what="a `once` container against `docker run` of the same, medians",
            figure=statistics.median(ours) / statistics.median(theirs),
            goal=1.1,
            unit="×",
            sense="at most",
            bound_by="not profiled",
            details={"ms": spread(ours, 1), "docker run ms": spread(theirs, 1)},
        )
    )
    return made
