"""The clock of a log: how long ago a line was written, by any clock and in any time zone of its access point.

A line that is read within LIVE seconds of being written is now. It also teaches the offset between the log's clock and this node's,
so that the ages of a backlog are right after a restart. Before the first live line the newest line of the file and the file's
time of change give the offset. Pure: all times are arguments.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from agent.sources import Anchor
from agent.steps.line_stamp import Stamp, stamp_of

LIVE = 10.0
"""Seconds within which a line counts as just written; followed files are looked at every 4 s at the latest."""
RESOLUTION = 1.0
"""Most stamps have whole seconds: an age is the smallest that the stamp allows."""
MAX_AGE = 366 * 86400.0
"""Seconds; a greater age is a clock that was wrong."""
CLOCK_SET = 1_200_000_000.0
"""Unix time (2008) below which the time of a file was written by a machine whose clock was not set."""
NOTICE = 5.0
"""Seconds by which a learnt offset has to change before it is worth storing."""
MAX_CLOCKS = 64
"""Access points of one log whose offsets are remembered."""


def local_zone(at: float) -> float:
    """Seconds east of UTC of this node's time zone at a Unix time."""
    return float(time.localtime(at).tm_gmtoff)


class LogClock:
    """The offsets of one log: its clocks minus this node's, in seconds; stamps without a zone count as UTC.

    A log has the clock of each access point whose lines were heard, and that of its newest line, named "".
    """

    def __init__(self, offsets: object = None, *, zone: Callable[[float], float] = local_zone) -> None:
        """`offsets` is an earlier `offsets()` (anything else is ignored); `zone` gives seconds east of UTC at a Unix time."""
        self._zone = zone
        self._age = 0.0
        """Of the last line whose age is known."""
        self._offsets: OrderedDict[str, float] = OrderedDict()
        try:
            known = msgspec.convert(offsets, dict[str, float])
        except msgspec.ValidationError:
            known = {}
        self._offsets.update((k, v) for k, v in list(known.items())[:MAX_CLOCKS] if math.isfinite(v))

    def offsets(self) -> dict[str, float]:
        """The learnt offsets by access point, for storing; those of zoned stamps have names that begin with `z:`."""
        return {k: round(v, 1) for k, v in self._offsets.items()}

    def difference(self, now: float) -> float | None:
        """The clock of the newest line minus this node's clock, in seconds, both as local time; None before a live line."""
        for name, zone in (("", self._zone(now)), ("z:", 0.0)):
            if name in self._offsets:
                return self._offsets[name] - zone
        return None

    def hear(self, line: bytes, now: float, access_point: str = "") -> None:
        """Learn from a line that was just written."""
        stamp = stamp_of(line, self._expected(access_point, now))
        if stamp is None:
            return
        name, offset = _name(access_point, stamp), stamp.seconds - now
        before = self._offsets.get(name)
        if before is None or abs(offset - before) > NOTICE:
            self._offsets[name] = offset
        self._offsets.move_to_end(name)
        if len(self._offsets) > MAX_CLOCKS:
            self._offsets.popitem(last=False)

    def age(self, line: bytes, access_point: str, now: float, *, bound: float, anchor: Anchor | None = None) -> float:
        """Seconds since the line was written, by Unix time `now`.

        `bound` is the greatest age that it can have: up to LIVE the line is now. `anchor` helps a log whose offset is unknown.
        """
        if bound <= LIVE:
            self.hear(line, now, access_point)
            self._age = 0.0
            return 0.0
        if anchor is not None and anchor.changed < CLOCK_SET:
            anchor = None
        stamp = stamp_of(line, self._expected(access_point, now))
        age = None if stamp is None else self._aged(stamp, access_point, now, anchor)
        if age is None:
            age = self._age or (max(0.0, now - anchor.changed) if anchor is not None else 0.0)
        self._age = min(age, bound)
        return self._age

    def _aged(self, stamp: Stamp, access_point: str, now: float, anchor: Anchor | None) -> float | None:
        """The age by the stamp; None where the stamp's clock was not set then."""
        offset = self._offset_for(stamp, access_point, now, anchor)
        age = now - (stamp.seconds - offset) - RESOLUTION
        return None if age >= MAX_AGE else max(0.0, age)

    def _offset_for(self, stamp: Stamp, access_point: str, now: float, anchor: Anchor | None) -> float:
        own = self._offsets.get(_name(access_point, stamp))
        others = sum(name.removeprefix("z:") not in ("", access_point) for name in self._offsets)
        if anchor is not None and not (own is not None and others):
            newest = stamp_of(anchor.line, self._expected(access_point, anchor.changed))
            if newest is not None and newest.zoned == stamp.zoned:
                return newest.seconds - anchor.changed
        general = self._offsets.get(_name("", stamp))
        return next((o for o in (own, general) if o is not None), 0.0 if stamp.zoned else self._zone(now))

    def _expected(self, access_point: str, now: float) -> float:
        """The stamp without a zone that a line of this moment would have."""
        return now + self._offsets.get(access_point, self._offsets.get("", self._zone(now)))


def _name(access_point: str, stamp: Stamp) -> str:
    return f"z:{access_point}" if stamp.zoned else access_point
