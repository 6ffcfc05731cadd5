from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.filters.conftest import filters
from tests.node.house import House

__all__ = ["filters", "house", "quick_stop"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def quick_stop() -> Iterator[None]:
    """A test leaves no running loop to the next one."""
    yield
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
