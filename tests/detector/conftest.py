"""Models and photos that the detector's tests share."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest

from detector import nanodet
from tests.detector.models import real_ssd

# Set before any test loads the runtime: no test reports usage to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def default_manifest() -> Path:
    """The default model, set up as `python -m detector fetch` does."""
    return nanodet.install(ROOT / "build/models/nanodet", print)


@pytest.fixture(scope="session")
def ssd_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real .tflite model."""
    return real_ssd(tmp_path_factory.mktemp("ssd"))


def photo(name: str) -> Path:
    """A photograph from scikit-image."""
    return Path(str(files("skimage.data").joinpath(name)))
