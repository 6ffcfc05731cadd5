"""What other nodes publish line by line, as rows for one reader."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from agent.mesh import LogLine
from agent.model.decoding import DAMAGED

log = logging.getLogger(__name__)

Json = dict[str, Any]
BUFFER = 1000
"""Rows kept for a reader that is slow."""


async def followed(
    streams: Sequence[AsyncIterator[LogLine]], row_of: Callable[[LogLine, Json], Json | None]
) -> AsyncIterator[Json]:
    """The rows that `row_of` makes of the lines and the JSON objects in them, without end; close it to stop.

    The oldest go where the reader is too slow; the row after them says how many it `missed`, with those that were lost on
    their way.
    """
    waiting: deque[Json] = deque(maxlen=BUFFER)
    wake, missed = asyncio.Event(), 0

    async def listen(stream: AsyncIterator[LogLine]) -> None:
        nonlocal missed
        async with aclosing(stream) as lines:  # type: ignore[type-var]
            async for line in lines:
                missed += line.lost
                told = _told(line.text)
                row = row_of(line, told) if told is not None else None
                if row is not None:
                    row.pop("missed", None)  # only this node knows
                    missed += len(waiting) == BUFFER
                    waiting.append(row)
                    wake.set()

    listeners = [asyncio.create_task(listen(s)) for s in streams]
    for listener in listeners:
        listener.add_done_callback(lambda _: wake.set())
    try:
        while True:
            await wake.wait()
            wake.clear()
            while waiting:
                row = waiting.popleft()
                if missed:
                    row, missed = {**row, "missed": missed}, 0
                yield row
            for listener in listeners:
                if listener.done():
                    listener.result()
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)


def _told(line: str) -> Json | None:
    """What another node published, if it is a JSON object: nonsense from one must not end what people watch."""
    try:
        return msgspec.json.decode(line, type=Json)
    except DAMAGED as e:
        log.debug("a published line is no JSON object: %s", e)
        return None
