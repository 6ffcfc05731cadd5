"""The sink's one clock: milliseconds since 1970."""

import time

SECOND = 1000
DAY = 86_400 * SECOND


def now_ms() -> int:
    """The time of the wall clock."""
    return time.time_ns() // 1_000_000
