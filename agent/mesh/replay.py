"""Refuses requests that were seen before: a sliding window of counters for each sender's boot."""

from __future__ import annotations

WINDOW = 4096
"""How far a counter may lie behind the highest one seen; requests of one sender overtake each other by
far less.
"""


class ReplayWindow:
    """Accepts each counter of one boot once."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0

    def accept(self, counter: int) -> bool:
        """Whether this counter is new; it is remembered as seen. Counters older than the window are
        refused.
        """
        if counter < 0:
            return False
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _MASK if ahead < WINDOW else 1
            self._highest = counter
            return True
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


_MASK = (1 << WINDOW) - 1


class ReplayGuard:
    """One window for each sender, for its newest boot: boot epochs rise, so an older one can only be a
    replay.
    """

    def __init__(self) -> None:
        self._windows: dict[str, tuple[str, ReplayWindow]] = {}

    def accept(self, sender: str, boot: str, counter: int) -> bool:
        """Whether (sender, boot, counter) was never seen. Call it only with values that a valid signature covers."""
        known = self._windows.get(sender)
        if known is None or boot > known[0]:
            known = self._windows[sender] = (boot, ReplayWindow())
        return known[0] == boot and known[1].accept(counter)
