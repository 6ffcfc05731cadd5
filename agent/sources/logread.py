"""The log of OpenWrt and of busybox, which is kept in RAM, through `logread -f`.

It has no positions: lines that are written while the agent does not read are lost, and each restart of the program
counts as a gap.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from agent.sources.batch import Batch, Counters, Position, SenderCount
from agent.sources.lines import shape
from agent.sources.log_program import LogProgram
from agent.sources.mark import new_generation

DUMP = 2.0
"""Seconds after its start in which the program may print lines that were written before: busybox's does."""


class LogreadSource:
    """New lines of `logread -f`; ids come from a random generation for each start, and the offset in it."""

    name = "logread"

    def __init__(self, *, backoff: float = 1.0) -> None:
        self.counters = Counters()
        self._program = LogProgram("logread", self.counters, backoff)

    @property
    def problem(self) -> str:
        """See LineSource."""
        return self._program.problem

    def senders(self) -> list[SenderCount]:
        """See LineSource."""
        return []

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """New lines; `position` is ignored. Raises ConfigError without logread."""
        generation, offset, rest, skipping = new_generation(), 0, b"", False
        async for block in self._program.blocks(lambda: ["-f"]):
            shaped = shape(rest + block, offset, skipping, final=not block)
            if shaped.data:
                batch = Batch(generation, shaped.segments[0][1], shaped.data, None, segments=shaped.segments)
                self.counters.lines += batch.lines
                self.counters.bytes += len(batch.data)
                self.counters.cut += shaped.cut
                batch.max_age = math.inf if self._program.age < DUMP else 0.0
                yield batch
            if not block:
                self.counters.gaps += 1
                generation, offset, rest, skipping = new_generation(), 0, b"", False
                continue
            rest = (rest + block)[shaped.consumed :]
            offset += shaped.consumed
            skipping = shaped.skipping
