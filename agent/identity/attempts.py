"""Counts the failures of each address, so that an address that fails too often can be ignored."""

from __future__ import annotations

import time
from collections import deque

_ADDRESSES = 1024
"""Addresses remembered; the one that failed longest ago is forgotten first."""


class Attempts:
    """Counts failures for each address in a sliding window of `window` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        """`limit` failures in `window` seconds are allowed."""
        self.limit, self.window = limit, window
        self._failed: dict[str, deque[float]] = {}

    def failed(self, address: str) -> int:
        """Note a failure; returns how many there are in the window now."""
        times = self._failed.pop(address, None) or deque(maxlen=8 * self.limit)
        times.append(time.monotonic())
        while len(self._failed) >= _ADDRESSES:
            self._failed.pop(next(iter(self._failed)))
        self._failed[address] = times
        return self.count(address)

    def count(self, address: str) -> int:
        """Failures of this address in the window."""
        times = self._failed.get(address)
        if times is None:
            return 0
        line = time.monotonic() - self.window
        while times and times[0] < line:
            times.popleft()
        return len(times)

    def over(self, address: str) -> bool:
        """Whether this address has failed too often."""
        return self.count(address) >= self.limit
