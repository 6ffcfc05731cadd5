"""The built filters and an engine, as the tests of the filters have them; an open journal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.delivery.driver import Driven
from tests.filters.conftest import compiled, engine, filters

__all__ = ["compiled", "engine", "filters"]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Driven]:
    """Closed when the test ends."""
    made = Driven(tmp_path / "journal.db")
    made.open()
    yield made
    made.close()
