"""The journal's clock: CLOCK_BOOTTIME, continued over reboots by the wall clock, as well as possible.

Nothing here is ever compared with another node's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_read: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def boottime() -> float:
    """Seconds since this machine started, sleep included."""
    return _read()


@contextmanager
def replaced_by(read: Callable[[], float]) -> Iterator[None]:
    """For tests: `boottime` returns what `read` returns, in the whole process, until the block ends."""
    global _read
    before, _read = _read, read
    try:
        yield
    finally:
        _read = before


@cache
def boot_id() -> str:
    """The kernel's id of this boot; read once, since the journal's writer must not fail when no descriptor is free."""
    return _BOOT_ID.read_text().strip()


def shift_after_reboot(last_boottime: float, last_wall: float) -> float:
    """Seconds to add to stored boottimes after a reboot; time off counts as far as the wall clock went forward."""
    off = max(0.0, time.time() - last_wall)
    return boottime() - last_boottime - off
