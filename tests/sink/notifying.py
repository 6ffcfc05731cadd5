"""A notifier that runs for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloud_sink.notify import Notifier


@asynccontextmanager
async def running(notifier: Notifier) -> AsyncIterator[None]:
    """Run it within the block, and fail where it ended by itself."""
    task = asyncio.create_task(notifier.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
