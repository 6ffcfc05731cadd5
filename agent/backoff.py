"""Backoff: how long to wait before something that failed is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence


def doubling(first: float, most: float) -> tuple[float, ...]:
    """The pauses from `first` seconds on, each twice as long as the one before, up to `most`.

    Raises ValueError where `first` is not above 0.
    """
    if first <= 0:
        raise ValueError("the first pause must be above 0 seconds")
    pauses = [first]
    while pauses[-1] < most:
        pauses.append(pauses[-1] * 2)
    return (*pauses[:-1], min(pauses[-1], most))


class Backoff:
    """The pauses after failures in a row, in seconds. It has no state, so one may serve many things.

    Each pause is multiplied by a random number between the two of `jitter`, so that many nodes do not try together.
    """

    def __init__(self, pauses: Sequence[float], *, jitter: tuple[float, float] = (1.0, 1.0)) -> None:
        self._pauses, self._jitter = tuple(pauses), jitter

    def after(self, failures: int) -> float:
        """The pause after this many failures in a row: 0.0 after none, the last pause after more than there are."""
        if failures < 1:
            return 0.0
        return self._pauses[min(failures, len(self._pauses)) - 1] * random.uniform(*self._jitter)  # noqa: S311


class Tries:
    """The failures in a row of one thing, and when it may be tried again."""

    def __init__(self, backoff: Backoff, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._backoff, self._clock = backoff, clock
        self._due = 0.0

    def failed(self) -> float:
        """Count one more failure; returns the pause that follows."""
        self.failures += 1
        pause = self._backoff.after(self.failures)
        self._due = self._clock() + pause
        return pause

    def succeeded(self) -> None:
        """Forget the failures: the next try may be at once."""
        self.failures, self._due = 0, 0.0

    def left(self) -> float:
        """Seconds until the next try; 0.0 where it may be now."""
        return max(0.0, self._due - self._clock())
