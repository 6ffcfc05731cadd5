"""YOLOX and YOLOv8-style models: centres and sizes, one row (or column) per place."""

from __future__ import annotations

import numpy as np

from detector.decoders.base import Array, Candidates, Outputs, best_class, corners_of, grid
from detector.errors import ModelError
from detector.manifest import InputSpec, YoloV8Spec, YoloxSpec


class Yolox:
    """[1, places, 5 + classes]: centre and log-size in cells, objectness, scores; score = objectness × class.

    Source of the format: "YOLOX: Exceeding YOLO Series in 2021" (Ge et al.), its ONNX export.
    """

    def __init__(self, spec: YoloxSpec, size: InputSpec, classes: int) -> None:
        self._decoded = spec.decoded
        self._width = 5 + classes
        cells = [grid(size.width, size.height, s) for s in spec.strides]
        self._cells = np.concatenate(cells)
        self._stride = np.repeat(np.asarray(spec.strides, np.float32), [len(c) for c in cells])[:, None]

    def decode(self, outputs: Outputs, threshold: float) -> Candidates:
        """Candidates from the single output."""
        a = _only(outputs, "YOLOX")
        if a.shape[1] != self._width or (not self._decoded and len(a) != len(self._cells)):
            raise ModelError(f"output {list(a.shape)} is not YOLOX's: expected [{len(self._cells)}, {self._width}]")
        rows, classes, best = best_class(a[:, 5:] * a[:, 4:5], threshold)
        centres, sizes = a[rows, :2], a[rows, 2:4]
        if not self._decoded:
            centres = (centres + self._cells[rows]) * self._stride[rows]
            sizes = np.exp(np.minimum(sizes, 20)) * self._stride[rows]
        return Candidates(corners_of(centres, sizes), best, classes)


class YoloV8:
    """[1, 4 + classes, places] or transposed: centre and size in input pixels, scores; no objectness."""

    def __init__(self, spec: YoloV8Spec, size: InputSpec, classes: int) -> None:
        self._width = 4 + classes
        self._scale = np.asarray([size.width, size.height] if spec.normalised else [1, 1], np.float32)

    def decode(self, outputs: Outputs, threshold: float) -> Candidates:
        """Candidates from the single output, transposed or not."""
        a = _only(outputs, "YOLOv8")
        if a.shape[0] == self._width and a.shape[1] != self._width:
            a = a.T
        if a.shape[1] != self._width:
            raise ModelError(f"output {list(a.shape)} is not YOLOv8's: expected {self._width} values per place")
        rows, classes, best = best_class(a[:, 4:], threshold)
        return Candidates(corners_of(a[rows, :2] * self._scale, a[rows, 2:4] * self._scale), best, classes)


def _only(outputs: Outputs, family: str) -> Array:
    if len(outputs) != 1:
        raise ModelError(f"{family} has one output, this model has {len(outputs)}: {', '.join(outputs)}")
    a: Array = next(iter(outputs.values()))
    if a.ndim != 3 or a.shape[0] != 1:
        raise ModelError(f"output {list(a.shape)} is not {family}'s: expected a batch of one")
    return np.asarray(a[0])
