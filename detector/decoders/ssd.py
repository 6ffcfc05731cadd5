"""SSD: offsets from a fixed set of anchors, or boxes from TFLite's own post-processing.

Sources: "SSD: Single Shot MultiBox Detector" (Liu et al. 2016); the arrangement of anchors is the one of the TensorFlow
Object Detection API (`ssd_anchor_generator`); TFLite's custom operation `TFLite_Detection_PostProcess`.
"""

from __future__ import annotations

import itertools

import numpy as np

from detector.decoders.base import Array, Candidates, Outputs, best_class, corners_of, grid, sigmoid
from detector.errors import ModelError
from detector.manifest import AnchorSpec, InputSpec, SsdSpec


class Ssd:
    """Both kinds of output; the manifest's key `anchors` selects the kind."""

    def __init__(self, spec: SsdSpec, size: InputSpec, classes: int) -> None:
        self._spec = spec
        self._classes = classes
        self._size = np.asarray([size.width, size.height], np.float32)
        self._anchors = make_anchors(spec.anchors, size) if spec.anchors is not None else None

    def decode(self, outputs: Outputs, threshold: float) -> Candidates:
        """Candidates from the outputs."""
        if self._anchors is None:
            return self._processed(outputs, threshold)
        return self._raw(outputs, self._anchors, threshold)

    def _raw(self, outputs: Outputs, anchors: Array, threshold: float) -> Candidates:
        n, width = len(anchors), self._classes + self._spec.background
        found: list[Array] = [a.reshape(a.shape[-2:]) for a in outputs.values() if a.ndim >= 2]
        codes = next((a for a in found if list(a.shape) == [n, 4]), None)
        scores = next((a for a in found if a is not codes and list(a.shape) == [n, width]), None)
        if codes is None or scores is None:
            shapes = {name: list(a.shape) for name, a in outputs.items()}
            raise ModelError(f"outputs {shapes} are not SSD's: expected [{n}, 4] and [{n}, {width}]")
        scores = scores[:, self._spec.background :]
        if self._spec.sigmoid:
            scores = sigmoid(scores)
        rows, classes, best = best_class(scores, threshold)
        y, x, h, w = (codes[rows] / np.asarray(self._spec.scales, np.float32)).T
        ax, ay, aw, ah = anchors[rows].T
        centres = np.stack([x * aw + ax, y * ah + ay], axis=1) * self._size
        sizes = np.exp(np.minimum(np.stack([w, h], axis=1), 20)) * np.stack([aw, ah], axis=1) * self._size
        return Candidates(corners_of(centres, sizes), best, classes)

    def _processed(self, outputs: Outputs, threshold: float) -> Candidates:
        arrays = [np.asarray(a) for a in outputs.values()]
        boxes = [a for a in arrays if a.ndim == 3 and a.shape[2] == 4]
        rest = [a for a in arrays if a.ndim == 2]
        counts = [a for a in arrays if a.size == 1]
        if len(boxes) != 1 or len(rest) < 2 or not counts:
            shapes = {name: list(a.shape) for name, a in outputs.items()}
            raise ModelError(f"outputs {shapes} are not those of TFLite's detection post-processing")
        n = min(int(counts[-1].reshape(-1)[0]), boxes[0].shape[1])
        classes, scores = rest[0][0, :n].astype(np.int64), rest[1][0, :n]
        rows = np.flatnonzero((scores >= threshold) & (classes >= 0) & (classes < self._classes))
        y0, x0, y1, x1 = boxes[0][0, rows].T
        corners = np.stack([x0, y0, x1, y1], axis=1) * np.tile(self._size, 2)
        return Candidates(corners, scores[rows], classes[rows])


def make_anchors(spec: AnchorSpec, size: InputSpec) -> Array:
    """Anchors [n, 4] as (centre x, centre y, width, height) in 0..1 of the input, layer by layer, place by place."""
    layers = len(spec.strides)
    step = (spec.max_scale - spec.min_scale) / max(1, layers - 1)
    scales = [spec.min_scale + step * i for i in range(layers)] + [1.0]
    anchors: list[Array] = []
    for i, stride in enumerate(spec.strides):
        if i == 0 and spec.reduced_first:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [*((scales[i], r) for r in spec.ratios), ((scales[i] * scales[i + 1]) ** 0.5, 1.0)]
        cells = grid(size.width, size.height, stride)
        columns, rows = cells.max(axis=0) + 1
        centres = (cells + 0.5) / np.asarray([columns, rows])
        sizes = np.asarray([(scale * ratio**0.5, scale / ratio**0.5) for scale, ratio in shapes])
        pairs = itertools.product(centres, sizes)
        anchors.append(np.asarray([[*c, *s] for c, s in pairs], np.float32))
    return np.concatenate(anchors)
