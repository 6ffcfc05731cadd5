"""The common parts of all decoders: candidates, the grid of places, suppression of overlapping boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]

MAX_CANDIDATES = 1000
"""Most boxes that go into suppression, best first; at a low threshold a flat picture can give thousands."""
MAX_LABELS = 100
"""Most labels of one picture."""


class Candidates(NamedTuple):
    """Boxes as corners in input pixels [n, 4], their scores [n] and classes [n]."""

    corners: Array
    scores: Array
    classes: Array


class Decoder(Protocol):
    """The decoder of one family of models."""

    def decode(self, outputs: Outputs, threshold: float) -> Candidates:
        """The boxes with a score of at least `threshold`; raises ModelError when the outputs are not this family's."""
        ...


def best_class(scores: Array, threshold: float) -> tuple[Array, Array, Array]:
    """For scores [places, classes]: the rows that reach the threshold, their best class and its score."""
    classes = scores.argmax(1)
    best = scores[np.arange(len(scores)), classes]
    rows = np.flatnonzero(best >= threshold)
    return rows, classes[rows], best[rows]


def grid(width: int, height: int, stride: int) -> Array:
    """The cells [n, 2] (x, y) of one stride, row by row; a last cell counts even if it is cut."""
    columns, rows = math.ceil(width / stride), math.ceil(height / stride)
    y, x = np.divmod(np.arange(rows * columns, dtype=np.float32), columns)
    return np.stack([x, y], axis=1)


def corners_of(centres: Array, sizes: Array) -> Array:
    """Convert centres and sizes, each [n, 2], to corners [n, 4]."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def sigmoid(x: Array) -> Array:
    """Logistic function without overflow warnings."""
    result: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def softmax(x: Array) -> Array:
    """Softmax along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


def suppress(found: Candidates, overlap: float) -> Candidates:
    """Greedy non-maximum suppression per class: each box removes lower boxes of its class that overlap by > `overlap`."""
    order = np.argsort(-found.scores, kind="stable")[:MAX_CANDIDATES]
    corners, scores, classes = (a[order] for a in found)
    # Boxes of different classes must not overlap: each class is moved to a separate area.
    span = float(np.abs(corners).max()) * 2 + 1 if len(corners) else 0.0
    apart = corners + (classes * span)[:, None]
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
    keep: list[int] = []
    alive = np.full(len(scores), True)
    for i in range(len(scores)):
        if not alive[i]:
            continue
        keep.append(i)
        if len(keep) == MAX_LABELS:
            break
        rest = slice(i + 1, None)
        sides = np.minimum(apart[i, 2:], apart[rest, 2:]) - np.maximum(apart[i, :2], apart[rest, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        union = areas[i] + areas[rest] - shared
        alive[rest] &= shared <= overlap * np.maximum(union, 1e-9)
    return Candidates(corners[keep], scores[keep], classes[keep])
