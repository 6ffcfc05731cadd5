"""Roll calls of access points, without I/O: signs of life that all devices of a place show at the same moment.

Access points renew the group key of a network from time to time, and each associated device confirms it within seconds, asleep or
not. So a device that does not answer while others do has left, although its `left` line was lost. Renewals of addresses come
one by one and prove nothing; they are told apart because a roll call brings the same devices together again.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import msgspec

TOGETHER = 5.0
"""Seconds within which the devices answer one call."""
SAME = 1 / 2
"""Part of the smaller of two groups that must be in both for the second one to be a call."""
CALLS = 12
"""Calls that are kept."""
MISSED = 2
"""Calls that a device must miss."""
STEADY = 3
"""Least calls that have a rhythm, and the last calls that the next is measured by: more than one of them must fit."""
SHORTEST = 60.0
"""Least seconds between two calls that have a rhythm; shorter pauses are chance."""
ANSWERS = 6
"""Answers of others in those calls, in all."""


class Call(NamedTuple):
    """When a call began, and how many devices answered it."""

    at: float
    answers: int


class Shown(msgspec.Struct, frozen=True):
    """The state of a place at some time: its calls, and its last sign of life."""

    calls: tuple[Call, ...] = ()
    heard: float = float("-inf")


NOTHING = Shown()


class RollCalls:
    """One place."""

    def __init__(self, shown: Shown = NOTHING, before: Shown = NOTHING, restarted: float = float("-inf")) -> None:
        self._shown = shown
        self.before = before
        """The state before the last restart."""
        self.restarted = restarted
        self._group: set[str] = set()
        self._since = float("-inf")
        self._last: set[str] = set()
        self._is_call = False

    @property
    def shown(self) -> Shown:
        """The state now; a call counts from the moment when its answers show it."""
        if not self._is_call:
            return self._shown
        return Shown((*self._shown.calls, Call(self._since, len(self._group)))[-CALLS:], self._shown.heard)

    @property
    def answers(self) -> int:
        """How many devices answered the last call; 0 without a call."""
        calls = self.shown.calls
        return calls[-1].answers if calls else 0

    def heard(self, mac: str, at: float) -> bool:
        """A device shows a sign of life; returns whether the calls change so that they should be kept."""
        before = self.shown.calls
        if at - self._since > TOGETHER:
            self._end()
            self._since = at
        self._group.add(mac)
        self._shown = Shown(self._shown.calls, max(self._shown.heard, at))
        was, self._is_call = self._is_call, self._calls(2 * len(self._group) >= len(self._last))
        return self._is_call > was or (at == self._since and self.shown.calls != before)

    def restart(self, at: float) -> None:
        """The access point restarts: a device that does not answer later may only not have come back yet."""
        self._end()
        self.before, self.restarted = self._shown, at

    def absent(self, since: float, until: float, away: float) -> bool:
        """See Watch."""
        shown, end = self._until(since, until)
        end = min(end, until - TOGETHER)  # a call that began just now is the one that it answers
        missed = [c for c in shown.calls if since < c.at < end]
        if len(missed) < MISSED or not _rhythm(shown.calls) or sum(c.answers for c in missed) < ANSWERS:
            return False
        # It may have left just before the first call that it missed; that one is not known where all kept calls were missed.
        return len(missed) == CALLS or until - missed[0].at > away

    def alive(self, since: float, until: float, quiet: float) -> bool:
        """See Watch."""
        shown, until = self._until(since, until)
        return since + quiet < shown.heard <= until

    def _until(self, since: float, until: float) -> tuple[Shown, float]:
        return (self.before, self.restarted) if since <= self.restarted <= until else (self.shown, until)

    def _end(self) -> None:
        """The group is complete: keep it if it was a call."""
        self._is_call = self._calls(True)
        self._shown, self._is_call = self.shown, False
        if len(self._group) > 1:
            self._last = self._group
        self._group, self._since = set(), float("-inf")

    def _calls(self, enough: bool) -> bool:
        """Whether the group brings devices of the last one together again, or comes when the next call is due."""
        both = len(self._group & self._last)
        again = both > 1 and both >= SAME * min(len(self._group), len(self._last))
        return (again and enough) or (bool(self._group) and self._in_step())

    def _in_step(self) -> bool:
        """Whether the group comes when a call is due: then one device is enough."""
        period, last = _rhythm(self._shown.calls), self._shown.calls[-STEADY:]
        return period > 0 and sum(_off(self._since - c.at, period) <= TOGETHER for c in last) > 1


def _rhythm(calls: tuple[Call, ...]) -> float:
    """The seconds of which most pauses between calls are multiples; 0 where they have no rhythm, as meetings by chance have none."""
    gaps = [b.at - a.at for a, b in pairwise(calls)]
    if len(calls) < STEADY:
        return 0.0
    period = max(gaps, key=lambda gap: (sum(_off(other, gap) <= TOGETHER for other in gaps), gap))
    steady = 2 * sum(_off(gap, period) <= TOGETHER for gap in gaps) > len(gaps)
    return period if steady and period >= SHORTEST else 0.0


def _off(time: float, period: float) -> float:
    """Seconds between a time and the nearest multiple of the period."""
    rest = time % period if period > 0 else time
    return min(rest, period - rest)
