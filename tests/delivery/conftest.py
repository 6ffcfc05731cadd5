"""The built filters and an executor, as the tests of the filters have them; an open journal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.delivery.driver import Driven
from tests.filters.conftest import compiled, executor, filters

__all__ = ["compiled", "executor", "filters"]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Driven]:
    """Closed when the test ends."""
    made = Driven(tmp_path / "journal.db")
    made.open()
    yield made
    made.close()
