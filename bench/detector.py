"""The detector's images per second as a step's program, against a bare ONNX Runtime loop over the same model.

The worker is the real program at the other end of two pipes. It gets one event after the other, as the agent sends them:
it reads, decodes, shapes, runs, suppresses and answers 640×360 photos of the demo's scenes. The bare loop only runs the
model, on a prepared tensor, with the same session settings and one thread. The two take turns in short rounds; each
side's figure is its fastest round, which the rest of the machine disturbed least.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.agents import ROOT
from bench.figure import Figure
from detector import images
from detector.engines import OnnxEngine
from detector.evaluate import open_rescale
from detector.manifest import load_model
from detector.worker import default_model

IN_FLIGHT = 1
"""The same number as in the agent (docs/decisions/0101-one-event-at-a-time.md)."""
BATCH = 12


def measure(*, quick: bool = False) -> list[Figure]:
    """The worker's rate against the bare loop's."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        photos = make_photos(Path(temporary))
        worker, bare = Worker(photos), Bare(photos[0])
        try:
            worker.rate(BATCH)
            bare.rate(BATCH)
            pairs = [(worker.rate(BATCH), bare.rate(BATCH)) for _ in range(5 if quick else 20)]
        finally:
            worker.close()
    figure, peer = max(w for w, _ in pairs), max(b for _, b in pairs)
    details = {
        "images_per_s": round(figure, 1),
        "bare_per_s": round(peer, 1),
        "median": round(statistics.median(w for w, _ in pairs), 1),
        "bare_median": round(statistics.median(b for _, b in pairs), 1),
    }
    return [
        Figure(
            name="detector",
            what="detector, images per second, against a bare onnxruntime loop",
            figure=figure / peer,
            goal=0.95,
            unit="×",
            sense="at least",
            details=details,
            bound_by="not profiled; apart from the model, the time is reading, decoding and shaping the photo",
        ),
    ]


def make_photos(folder: Path) -> list[Path]:
    """The demo's frames after the rescale step."""
    scenes = sorted((ROOT / "build/scenes").glob("*/*.jpg"))
    if not scenes:
        raise SystemExit("no scenes: run scripts/scenes.py first")
    rescale, _ = open_rescale(ROOT / "build/filters/rescale.wasm", 640)
    paths = []
    for i, scene in enumerate(scenes):
        paths.append(folder / f"{i}.jpg")
        paths[-1].write_bytes(rescale(scene.read_bytes()))
    return paths


class Worker:
    """The detector's program, fed over a pipe."""

    def __init__(self, photos: list[Path]) -> None:
        self._lines = [
            json.dumps({"id": str(i), "data": {"blobs": [{"name": "p.jpg", "cid": "c", "path": str(p)}]}}).encode()
            + b"\n"
            for i, p in enumerate(photos)
        ]
        command = [sys.executable, "-m", "detector.worker", "--provider", "cpu", "--threads", "1"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def rate(self, count: int) -> float:
        """Images per second over `count` images."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        began = time.perf_counter()
        for i in range(count + IN_FLIGHT):
            if i >= IN_FLIGHT and b'"events"' not in back.readline():
                raise SystemExit("the detector gave no labels")
            if i < count:
                os.write(to.fileno(), self._lines[i % len(self._lines)])
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        """Close the program's input, so that it ends."""
        self._process.communicate()


class Bare:
    """ONNX Runtime alone."""

    def __init__(self, photo: Path) -> None:
        model = load_model(default_model())
        self._engine = OnnxEngine(model, "cpu", threads=1)
        self._tensor, _ = images.prepare(images.decode(photo.read_bytes()), model.manifest.input)

    def rate(self, count: int) -> float:
        """Runs per second."""
        began = time.perf_counter()
        for _ in range(count):
            self._engine.run(self._tensor)
        return count / (time.perf_counter() - began)
