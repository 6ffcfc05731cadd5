"""Calls from zenoh's threads to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


def soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *args: Any) -> bool:
    """Run `callback(*args)` on the loop; False where the loop is closed, which happens only while the
    agent stops.
    """
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        return False
    return True
