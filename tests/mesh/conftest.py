from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mesh.building import Building


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    made = Building(tmp_path)
    yield made
    await made.close()
