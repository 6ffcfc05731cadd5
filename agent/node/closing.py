"""The end of a node's parts: one that cannot be closed keeps no other open, and hides nothing."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def close_all(*closers: Callable[[], Awaitable[None] | None]) -> None:
    """Call each in turn, in a thread what is no coroutine function. Their faults are logged: what ended the agent is told
    by who ran it. A cancellation is passed on when all have been called.
    """
    cancelled: asyncio.CancelledError | None = None
    for close in closers:
        try:
            if inspect.iscoroutinefunction(close):
                await close()
            else:
                await asyncio.to_thread(close)
        except asyncio.CancelledError as e:
            cancelled = e
        except Exception as e:
            log.error("a part of the agent could not be closed (%s)", close.__qualname__, exc_info=e)
    if cancelled is not None:
        raise cancelled
