"""Builds the detector's image from this checkout; `--help` says how. The work is in `detector/build_image.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detector.build_image import main

if __name__ == "__main__":
    sys.exit(main())
