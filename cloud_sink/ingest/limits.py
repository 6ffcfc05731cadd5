"""How much one sender may send in a time."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict


class Rates:
    """A bucket of `burst` tokens per name, refilled with `rate` a second; remembers the last `names` names."""

    def __init__(self, rate: float, burst: float, names: int = 10_000) -> None:
        self._rate, self._burst, self._names = rate, burst, names
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> int:
        """0 when one more is allowed now, else the whole seconds to wait. From any thread."""
        with self._lock:
            return self._take(name)

    def _take(self, name: str) -> int:
        now = time.monotonic()
        tokens, at = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        allowed = tokens >= 1
        self._buckets[name] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._names:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - tokens) / self._rate))
