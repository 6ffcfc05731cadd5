"""NanoDet: anchor-free, one score per class and place, the distance to each side as a distribution over bins.

Source of the format: "Generalized Focal Loss" (Li et al. 2020), as NanoDet exports it: the expectation of the
distribution times the stride is the distance in pixels.
"""

from __future__ import annotations

import numpy as np

from detector.decoders.base import Array, Candidates, Outputs, best_class, grid, sigmoid, softmax
from detector.errors import ModelError
from detector.manifest import InputSpec, NanoDetSpec


class NanoDet:
    """Reads separate outputs per stride (scores and distances), and the single merged output of newer exports."""

    def __init__(self, spec: NanoDetSpec, size: InputSpec, classes: int) -> None:
        self._spec = spec
        self._classes = classes
        cells = [grid(size.width, size.height, s) for s in spec.strides]
        self._places = [len(c) for c in cells]
        self._centres = np.concatenate([(c + spec.centre) * s for c, s in zip(cells, spec.strides, strict=True)])
        self._stride = np.repeat(np.asarray(spec.strides, np.float32), self._places)
        self._bins = np.arange(spec.bins, dtype=np.float32)

    def decode(self, outputs: Outputs, threshold: float) -> Candidates:
        """Candidates from the outputs; the shape tells scores from distances."""
        scores, distances = self._split(outputs)
        if self._spec.sigmoid:
            scores = sigmoid(scores)
        rows, classes, best = best_class(scores, threshold)
        spread = softmax(distances[rows].reshape(len(rows), 4, self._spec.bins))
        sides = (spread @ self._bins) * self._stride[rows, None]
        centres = self._centres[rows]
        return Candidates(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1), best, classes)

    def _split(self, outputs: Outputs) -> tuple[Array, Array]:
        wide = 4 * self._spec.bins
        total = sum(self._places)
        flat = [a.reshape(-1, a.shape[-1]) for a in outputs.values()]
        for a in flat:
            if a.shape == (total, self._classes + wide):
                return a[:, : self._classes], a[:, self._classes :]
        # Scores come before distances in every export; this decides if both have the same width.
        scores = self._gather(flat[: len(flat) // 2], self._classes)
        distances = self._gather(flat[len(flat) // 2 :], wide)
        if scores is None or distances is None:
            shapes = {name: list(a.shape) for name, a in outputs.items()}
            raise ModelError(
                f"outputs {shapes} are not NanoDet's for {self._classes} labels, {self._spec.bins} bins "
                f"and {self._places} places"
            )
        return scores, distances

    def _gather(self, flat: list[Array], width: int) -> Array | None:
        """One array over all strides, which may come in any order."""
        by_places = {len(a): a for a in flat if a.shape[1] == width}
        if not all(n in by_places for n in self._places):
            return None
        return np.concatenate([by_places[n] for n in self._places])
