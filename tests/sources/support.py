"""Reading sources in tests."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from agent.sources import Batch, LineSource, Position


class Collector:
    """Reads a source in the background: `async with Collector(source) as c`; `c.lines` has the lines."""

    def __init__(self, source: LineSource, position: Position | None = None) -> None:
        self.source = source
        self.position = position
        self.batches: list[Batch] = []
        self.begun = asyncio.Event()

    @property
    def lines(self) -> list[bytes]:
        return [line for batch in self.batches for line in batch.data.splitlines()]

    @property
    def origins(self) -> list[tuple[str, int]]:
        return [b.origin(n) for b in self.batches for n in range(1, b.lines + 1)]

    @property
    def senders(self) -> list[str]:
        return [b.sender(n) for b in self.batches for n in range(1, b.lines + 1)]

    async def _read(self) -> None:
        async with aclosing(self.source.batches(self.position)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                self.batches.append(batch)
                self.position = batch.position
                self.begun.set()

    async def __aenter__(self) -> Collector:
        self.task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled() and (error := self.task.exception()):
            raise error
