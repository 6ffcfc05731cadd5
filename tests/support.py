"""Helpers of tests of several packages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(predicate: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait until `predicate()` is true; fails after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not predicate():
        assert loop.time() < end, "it did not happen in time"
        await asyncio.sleep(0.01)
