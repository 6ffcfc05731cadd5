"""Detectors that run without the GPU that their step asks for."""

from __future__ import annotations

from agent.definitions import Definitions

NO_GPU = "detector: warning no-gpu"
READY = "detector: ready"
"""The beginnings of two log lines of the detector's worker (detector/README.md)."""


class GpuUse:
    """Learns from the log lines of detectors which of them have no GPU."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.missing: set[tuple[str, str]] = set()
        """Pipeline and step of each detector that has no GPU."""

    def read(self, pipeline: str, step: str, line: str) -> None:
        """Read one log line of a step."""
        if line.startswith(READY):
            self.missing.discard((pipeline, step))
        found = self._definitions.current.get(pipeline)
        wanted = found.step(step) if found else None
        asked = wanted is not None and self._definitions.kinds.of(wanted).reserves(wanted).gpus > 0
        if line.startswith(NO_GPU) or (asked and line.startswith(READY) and "provider=cuda" not in line):
            self.missing.add((pipeline, step))
