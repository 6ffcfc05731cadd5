"""Lines that other nodes publish, as rows for one reader."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec

from agent.mesh import LogLine
from agent.model.decoding import DAMAGED

log = logging.getLogger(__name__)

Json = dict[str, Any]
BUFFER = 1000
"""Rows kept for a reader that is slow."""


class Row(Protocol):
    """A struct with the number of lost rows before it."""

    missed: int


R = TypeVar("R", bound=Row)


async def followed(
    streams: Sequence[AsyncIterator[LogLine]], row_of: Callable[[LogLine, Json], R | None]
) -> AsyncIterator[R]:
    """The rows that `row_of` makes of the lines and the JSON objects in them, without end; close it to stop.

    A line is skipped where `row_of` returns None or raises ValidationError. Where the reader is too slow the oldest
    rows are dropped; `missed` of the next row counts them and the rows that were lost on their way.
    """
    waiting: deque[R] = deque(maxlen=BUFFER)
    wake, missed = asyncio.Event(), 0

    async def listen(stream: AsyncIterator[LogLine]) -> None:
        nonlocal missed
        async with aclosing(stream) as lines:  # type: ignore[type-var]
            async for line in lines:
                missed += line.lost
                row = _row(line, row_of)
                if row is not None:
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
                row.missed, missed = missed, 0
                yield row
            for listener in listeners:
                if listener.done():
                    listener.result()
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)


def _row(line: LogLine, row_of: Callable[[LogLine, Json], R | None]) -> R | None:
    """The row of a line that holds a JSON object: an invalid line of one node must not end the stream."""
    try:
        told = msgspec.json.decode(line.text, type=Json)
        told.pop("missed", None)  # only this node knows
        return row_of(line, told)
    except DAMAGED as e:
        log.debug("a published line is not readable: %s", e)
        return None
