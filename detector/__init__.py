"""The detector labels objects in photos. It runs alone, as a step's program or in its image, independent of the agent.

`python -m detector.worker` follows the step contract, `python -m detector eval|fetch` measures and sets up,
scripts/build_detector.py makes the image. In order of the data: `worker` (an event) → `images` (pixels) → `engines`
(the model) → `decoders` (boxes) → `worker` (labels). detector/README.md describes how to use another model.
"""

from __future__ import annotations

from detector.errors import DetectorError, ImageError, ModelError
from detector.manifest import Manifest, load_model

__all__ = ["DetectorError", "ImageError", "Manifest", "ModelError", "load_model"]
