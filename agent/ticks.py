"""Common ticks for all periodic checks.

An idle processor that is woken runs cold: a check of 50 µs of work costs 1–2 ms (measured, docs/performance.md). So
checks wait for a tick that all of them share, and the process wakes once for many.
"""

from __future__ import annotations

import asyncio
import math
import random
import time

GRID = 2.0
"""Seconds between ticks."""
_PHASE = random.uniform(0.0, GRID)  # noqa: S311  keeps the agents of one machine apart, guards nothing


def until(seconds: float) -> float:
    """Seconds from now until the tick that is nearest to `seconds` from now; pauses shorter than GRID stay as they are."""
    if seconds < GRID:
        return seconds
    now = time.monotonic() - _PHASE
    tick = max(round((now + seconds) / GRID), math.floor(now / GRID) + 1)
    return tick * GRID - now


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, at most `seconds` (None: no limit); returns whether it was."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def sleep(seconds: float) -> None:
    """Sleep for about `seconds`, until a tick."""
    await asyncio.sleep(until(seconds))
