"""Counts of one source of a step: the lines of its log, and the events that were found in them, by sender."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec

from agent.clock import boottime
from agent.sources import LineSource

MAX_SENDERS = 1024
"""Senders with a count of events; of more, those with the oldest events are forgotten."""


class FoundEvents(msgspec.Struct):
    """The events in the lines of one sender. `last` is the Unix time of the last."""

    events: int = 0
    last: float = 0.0


class SourceCounts(msgspec.Struct, kw_only=True):
    """Counts since the start of the source. `last` and `last_event` are Unix times, 0 before the first.

    `unrecognised` are the lines since the last event, the first of which came `unrecognised_s` seconds ago. `dropped` are lines by
    reason, the last of them `dropped_s` seconds ago. `unread` are bytes that were rotated away before they were read; `gaps`
    counts the times when an unknown number was. `clock_s` is the log's clock minus this node's in seconds, None
    before a line shows it. `missing`: there is no such log now. `found` is by sender, "" for a log of this host.
    """

    lines: int = 0
    bytes: int = 0
    last: float = 0.0
    events: int = 0
    last_event: float = 0.0
    unrecognised: int = 0
    unrecognised_s: float = 0.0
    dropped: dict[str, int] = {}
    dropped_s: float = 0.0
    cut: int = 0
    unread: int = 0
    gaps: int = 0
    missing: bool = False
    clock_s: float | None = None
    found: dict[str, FoundEvents] = {}


class Tally:
    """Counts what a source gives while it is read."""

    def __init__(self, source: LineSource) -> None:
        self._source = source
        self._found: OrderedDict[str, FoundEvents] = OrderedDict()
        self._events, self._last, self._last_event = 0, 0.0, 0.0
        self._at_event = 0
        """Lines of the source at its last event."""
        self._quiet_since: float | None = None
        self._dropped, self._dropped_at = 0, 0.0

    @property
    def events(self) -> int:
        """The events of all senders."""
        return self._events

    def heard(self) -> None:
        """A batch with lines was read."""
        self._last = time.time()
        if self._quiet_since is None:
            self._quiet_since = boottime()

    def found(self, senders: list[str]) -> None:
        """The batch has events, of these senders."""
        if not senders:
            return
        self._events += len(senders)
        self._last_event, self._at_event, self._quiet_since = self._last, self._source.counters.lines, None
        for sender in senders:
            found = self._found.setdefault(sender, FoundEvents())
            self._found.move_to_end(sender)
            found.events, found.last = found.events + 1, self._last_event
        while len(self._found) > MAX_SENDERS:
            self._found.popitem(last=False)

    def counts(self) -> SourceCounts:
        """The counts now."""
        counters, now = self._source.counters, boottime()
        dropped = sum(counters.dropped.values())
        if dropped != self._dropped:
            self._dropped, self._dropped_at = dropped, now
        return SourceCounts(
            lines=counters.lines,
            bytes=counters.bytes,
            last=self._last,
            events=self._events,
            last_event=self._last_event,
            unrecognised=counters.lines - self._at_event,
            unrecognised_s=now - self._quiet_since if self._quiet_since is not None else 0.0,
            dropped=dict(counters.dropped),
            dropped_s=now - self._dropped_at,
            cut=counters.cut,
            unread=counters.unread,
            gaps=counters.unknown,
            missing=counters.missing,
            found=dict(self._found),
        )
