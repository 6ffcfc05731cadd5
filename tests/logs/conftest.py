from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from agent.logs import LogStore


@pytest.fixture
async def running() -> AsyncIterator[Callable[[LogStore], None]]:
    """Runs a store until the end of the test."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda store: tasks.append(asyncio.create_task(store.run()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
