"""Token buckets: limits on the rate of one sender."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

Clock = Callable[[], float]


class Bucket:
    """Holds at most `burst` tokens and gains `rate` of them a second; it starts full. Not for several threads."""

    __slots__ = ("_at", "_burst", "_clock", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, *, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()

    def wait(self, amount: float = 1.0) -> float:
        """Seconds until `amount` tokens are here: 0.0 where they are, infinity where the bucket cannot hold as many."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= amount:
            return 0.0
        return (amount - self._tokens) / self._rate if amount <= self._burst else math.inf

    def take(self, amount: float = 1.0) -> float:
        """Take `amount` tokens and return 0.0; where they are not here, take none and return `wait(amount)`."""
        wait = self.wait(amount)
        if not wait:
            self._tokens -= amount
        return wait


class Rates:
    """A Bucket for each name. Calls from any thread.

    Remembers the `names` names that were asked about last; a forgotten one starts with a full bucket again.
    """

    def __init__(self, rate: float, burst: float, *, names: int = 10_000, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._names, self._clock = rate, burst, names, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str, amount: float = 1.0) -> float:
        """See Bucket.wait."""
        with self._lock:
            return self._of(name).wait(amount)

    def take(self, name: str, amount: float = 1.0) -> float:
        """See Bucket.take."""
        with self._lock:
            return self._of(name).take(amount)

    def _of(self, name: str) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._rate, self._burst, clock=self._clock)
            if len(self._buckets) > self._names:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return bucket
