"""A detector: a model, its engine and its decoder, from a picture's bytes to labels."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from detector import images
from detector.decoders import Array, build, suppress
from detector.engines import open_engine
from detector.manifest import Model


class Prepared(NamedTuple):
    """A picture ready for the model; `seconds` is the time of the preparation."""

    tensor: Array
    place: images.Placement
    seconds: float


class Found(NamedTuple):
    """The labels of a picture, as in `image.labels` events, and the time in seconds."""

    labels: list[dict[str, Any]]
    width: int
    height: int
    seconds: float


class Detector:
    """Labels pictures. `prepare` and `find` may run in different threads, but each in only one thread at a time."""

    def __init__(
        self, model: Model, *, provider: str = "auto", threads: int = 1, threshold: float | None = None
    ) -> None:
        manifest = model.manifest
        self.name = manifest.name
        self.threshold = manifest.threshold if threshold is None else threshold
        self._spec = manifest.input
        self._overlap = manifest.overlap
        self._labels = model.labels
        self._decoder = build(model)
        self.engine = open_engine(model, provider, threads)
        self.warm()

    def warm(self) -> None:
        """Run once on an empty picture, so that the first picture is quick and a wrong decoder fails at the start."""
        frame = np.zeros((self._spec.height, self._spec.width, 3), np.uint8)
        tensor, _ = images.prepare(frame, self._spec)
        self._decoder.decode(self.engine.run(tensor), self.threshold)

    def prepare(self, data: bytes) -> Prepared:
        """Decode a picture file and convert it to the model's input. Raises ImageError."""
        began = time.perf_counter()
        tensor, place = images.prepare(images.decode(data), self._spec)
        return Prepared(tensor, place, time.perf_counter() - began)

    def find(self, picture: Prepared) -> Found:
        """The labels of a prepared picture, highest score first."""
        began = time.perf_counter()
        candidates = self._decoder.decode(self.engine.run(picture.tensor), self.threshold)
        corners, scores, classes = suppress(candidates, self._overlap)
        boxes = picture.place.boxes(corners)
        labels = [
            {"name": self._labels[int(c)], "score": round(float(s), 4), "box": [round(float(v), 4) for v in box]}
            for box, s, c in zip(boxes, scores, classes, strict=True)
        ]
        seconds = picture.seconds + time.perf_counter() - began
        return Found(labels, picture.place.width, picture.place.height, seconds)
