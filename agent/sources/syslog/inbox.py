"""The lines of one receiver that wait for the reader, and the counts: the part that TCP and UDP share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from agent.rates import Rates
from agent.sources.batch import MAX_BATCH, Counters, SenderCount
from agent.sources.syslog.allow_list import AllowList
from agent.sources.syslog.messages import to_line
from agent.sources.syslog.senders import SenderBook, sample

logger = logging.getLogger(__name__)

MAX_MESSAGE = 16 * 1024
"""Longest message in bytes; longer messages are cut."""
MAX_WAITING = 4 * MAX_BATCH
"""Bytes of lines that may wait for the reader; beyond it TCP senders wait, and UDP messages are dropped."""
BURST = 10.0
"""Largest burst of one sender: the messages that its rate allows in this many seconds."""
SENDERS = 1024
"""Number of senders with a remembered rate."""


class Inbox:
    """Takes messages from allowed senders, within limits, and gives them as lines."""

    def __init__(self, name: str, allow: AllowList, rate: float) -> None:
        """`rate` is in messages a second for each sender."""
        self.name = name
        self.counters = Counters()
        self.arrived = asyncio.Event()
        self._allow = allow
        self._rates = Rates(rate, rate * BURST, names=SENDERS)
        self._book = SenderBook()
        self._lines: deque[tuple[bytes, str]] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    def allows(self, sender: str) -> bool:
        """Whether messages of this address are taken now."""
        return self._allow.allows(sender)

    def senders(self) -> list[SenderCount]:
        """The senders, the last heard first."""
        counts = self._book.all()
        for count in counts:
            count.allowed, count.decided = self._allow.allows(count.address), self._allow.decided(count.address)
        return counts

    def offer(self, message: bytes, sender: str) -> None:
        """Take one message of an allowed sender, or drop it above a limit."""
        if self._rates.take(sender):
            self.drop("rate", sender)
        elif self._bytes >= MAX_WAITING:
            self.drop("full", sender)
        else:
            self.counters.cut += len(message) > MAX_MESSAGE
            self._add(message[:MAX_MESSAGE], sender)

    async def put(self, message: bytes, sender: str) -> None:
        """Take one message of an allowed sender, after a wait above a limit."""
        while wait := self._rates.take(sender):
            await asyncio.sleep(wait)
        await self._room.wait()
        self._add(message, sender)

    def take(self) -> tuple[bytes, list[str]]:
        """Up to MAX_BATCH bytes of lines, and the sender of each."""
        lines, senders, size = [], [], 0
        while self._lines and size + len(self._lines[0][0]) <= MAX_BATCH:
            line, sender = self._lines.popleft()
            lines.append(line)
            senders.append(sender)
            size += len(line)
        self._bytes -= size
        if not self._lines:
            self.arrived.clear()
        if self._bytes < MAX_WAITING // 2:
            self._room.set()
        self.counters.lines += len(lines)
        self.counters.bytes += size
        return b"".join(lines), senders

    def drop(self, reason: str, sender: str, messages: int = 1, *, last: bytes = b"") -> None:
        """Count dropped messages of a sender; the first of each reason is logged. `last` is the last of them."""
        count = self._book.heard(sender, allowed=self.allows(sender), now=time.time())
        count.dropped[reason] = count.dropped.get(reason, 0) + messages
        count.sample = sample(last) or count.sample
        if self.counters.drop(reason, messages):
            remedy = f"; edge-agent source allow {sender} lets it send" if reason == "not allowed" else ""
            logger.warning(
                "%s: dropped a message from %s (%s); more of these are only counted%s",
                self.name,
                sender,
                reason,
                remedy,
            )

    def _add(self, message: bytes, sender: str) -> None:
        now = time.time()
        line = to_line(message, sender, now)
        if not line:
            self.drop("empty", sender)
            return
        count = self._book.heard(sender, allowed=True, now=now)
        count.lines, count.bytes, count.sample = count.lines + 1, count.bytes + len(line) + 1, sample(message)
        self._lines.append((line + b"\n", sender))
        self._bytes += len(line) + 1
        if self._bytes >= MAX_WAITING:
            self._room.clear()
        self.arrived.set()
