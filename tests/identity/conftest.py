from __future__ import annotations

from pathlib import Path

import pytest

from tests.identity.meshes import Mesh


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path / "mesh")


@pytest.fixture
def other(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path / "other", "elsewhere")
