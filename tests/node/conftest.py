from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.filters.conftest import filters
from tests.node.site import Site

__all__ = ["filters", "quick_stop", "site"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def quick_stop() -> Iterator[None]:
    """A test leaves no running loop to the next one."""
    yield
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
