"""A 1920×1080 JPEG to 640 by the WASM module as a step: folders, a new instance in a warm child, the result as a blob.

OpenCV does the same in this process (decode, area resize, encode at the same quality). Each side has one thread, and the
two take turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import cv2
import numpy

from agent.blobs import BlobStore
from agent.executors import DockerExecutor, Executors, NoLog, Policy, ProcessExecutor, WasmExecutor
from agent.model.event import BlobRef, Event
from agent.model.task import StepInput, WasmTask
from bench.agents import ROOT
from bench.figure import Figure, spread

LONGEST = 640
QUALITY = 85
"""Of filters/rescale.c."""


def by_opencv(jpeg: bytes) -> bytes:
    """The same with OpenCV."""
    image = cv2.imdecode(numpy.frombuffer(jpeg, numpy.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    scale = LONGEST / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, out = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return bytes(out)


async def _measure(rounds: int) -> tuple[list[float], list[float]]:
    cv2.setNumThreads(1)
    scenes = sorted((ROOT / "build/scenes").glob("*/*.jpg"))
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        store = BlobStore(folder / "blobs", 1 << 30)
        executor = WasmExecutor(folder / "cache", folder / "scratch")
        docker, process = DockerExecutor("bench", folder / "docker"), ProcessExecutor(folder / "process")
        executors = Executors(executor, docker, process, Policy(), store)
        task = WasmTask(module="rescale", args=["--max", str(LONGEST)])
        runner = executors.runner(task, "rescale", NoLog(), ROOT / "build/filters/rescale.wasm")
        await runner.start()
        try:
            for number in range(rounds + 2):
                photo = scenes[number % len(scenes)]
                item = StepInput(
                    _event(number), [BlobRef("photo.jpg", "photo", "image/jpeg", photo.stat().st_size, str(photo))]
                )
                began = time.perf_counter()
                made = await runner.run(item)
                middle = time.perf_counter()
                by_opencv(photo.read_bytes())
                pairs.append((middle - began, time.perf_counter() - middle))
                if made[0].data["width"] != LONGEST:
                    raise RuntimeError(f"the step made {made}")
        finally:
            await runner.close()
            await executor.close()
            store.close()
    return [p[0] * 1e3 for p in pairs[2:]], [p[1] * 1e3 for p in pairs[2:]]


def _event(number: int) -> Event:
    return Event(id=f"photo-{number}", source="/bench", type="camera.photo", time="2026-03-03T18:02:41Z", data={})


def measure(*, quick: bool = False) -> list[Figure]:
    """The step's time divided by OpenCV's, as medians over the rounds."""
    ours, theirs = asyncio.run(_measure(16 if quick else 80))
    return [
        Figure(
            name="rescale",
            what="rescale of a 1920×1080 JPEG to 640 in WASM, as a step, against OpenCV",
            figure=spread(ours, 3)["p50"] / spread(theirs, 3)["p50"],
            goal=1.5,
            unit="×",
            sense="at most",
            bound_by="not profiled; an empty instance of the engine is 0.12 ms of it",
            details={"step_ms": spread(ours), "opencv_ms": spread(theirs)},
        ),
    ]
