"""The senders of one receiver: counts of each, within limits."""

from __future__ import annotations

from collections import OrderedDict

from agent.sources.batch import SenderCount

ALLOWED, OTHERS = 1024, 256
"""Senders that are remembered, allowed and others apart: anybody can invent addresses, which must push out no allowed sender."""
SAMPLE = 160
"""Bytes of the last message that are kept."""


class SenderBook:
    """Counts by sender. Of too many senders those heard longest ago are forgotten."""

    def __init__(self) -> None:
        self._counts: dict[bool, OrderedDict[str, SenderCount]] = {True: OrderedDict(), False: OrderedDict()}

    def heard(self, address: str, *, allowed: bool, now: float) -> SenderCount:
        """The counts of a sender from which something comes at the Unix time `now`."""
        other = self._counts[not allowed].pop(address, None)
        counts = self._counts[allowed]
        count = other or counts.get(address) or SenderCount(address)
        counts[address] = count
        counts.move_to_end(address)
        if len(counts) > (ALLOWED if allowed else OTHERS):
            counts.popitem(last=False)
        count.allowed, count.last = allowed, now
        return count

    def all(self) -> list[SenderCount]:
        """The senders, the last heard first."""
        return sorted((c for counts in self._counts.values() for c in counts.values()), key=lambda c: -c.last)


def sample(message: bytes) -> str:
    """The beginning of a message, printable."""
    text = message[:SAMPLE].decode(errors="replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()
