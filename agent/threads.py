"""Work that is never abandoned half-way: a cancelled caller waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def finished(work: Awaitable[T]) -> T:
    """The result of `work`; a cancelled caller waits for its end, so that what it uses may be closed afterwards.

    An error of `work` is dropped where the caller was cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise


async def in_thread(work: Callable[[], T], threads: Executor | None = None) -> T:
    """Run `work` to its end in a thread, one of `threads` where given; see `finished`."""
    return await finished(asyncio.get_running_loop().run_in_executor(threads, work))
