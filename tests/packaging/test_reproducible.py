"""Two builds of the same sources are equal, byte for byte."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.packaging.conftest import freeze

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXCEPTIONS: set[str] = set()
"""Files that differ between two builds; each needs a reason here."""


def listing(tree: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and hash of each file and folder."""
    return {
        str(p.relative_to(tree)): (
            p.lstat().st_mode,
            int(p.lstat().st_mtime),
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "",
        )
        for p in sorted(tree.rglob("*"))
    }


def test_two_builds_are_equal(tree: Path, tmp_path: Path) -> None:
    first, second = listing(tree), listing(freeze(tmp_path / "again", "--fresh"))
    assert {n for n in {*first, *second} if first.get(n) != second.get(n)} == EXCEPTIONS
    shutil.rmtree(tmp_path / "again")


def test_tree_holds_no_path_of_the_machine_that_built_it(tree: Path) -> None:
    ours = [str(Path(__file__).parents[2]).encode(), str(Path.home() / ".cache").encode()]
    assert not [p for p in tree.rglob("*") if p.is_file() and any(path in p.read_bytes() for path in ours)]


def test_tree_holds_only_what_a_device_needs(tree: Path) -> None:
    names = {p.name for p in (tree / "_internal").iterdir()}
    assert not {"cv2", "numpy", "onnxruntime", "ai_edge_litert", "sqlalchemy", "demo", "cloud_sink", "detector"} & names
    assert not [p for p in tree.rglob("*") if p.suffix in (".onnx", ".jpg", ".png", ".tflite")]
