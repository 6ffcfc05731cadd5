"""The journal's clock: CLOCK_BOOTTIME, carried over reboots by the wall clock as well as can be.

Nothing here is ever compared with another node's clock.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Seconds since this machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """The kernel's id of this boot; read once, since the journal's writer must not fail for want of a descriptor."""
    return _BOOT_ID.read_text().strip()


def shift_after_reboot(last_boottime: float, last_wall: float) -> float:
    """Seconds to add to stored boottimes after a reboot; time off counts as far as the wall clock went forward."""
    off = max(0.0, time.time() - last_wall)
    return boottime() - last_boottime - off
