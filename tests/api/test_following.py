"""Rows for a reader of the lines that other nodes publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agent.api.following import BUFFER, followed
from agent.errors import NotFound
from agent.mesh import LogLine


class Row(msgspec.Struct):
    n: int = 0
    node: str = ""
    missed: int = 0


def row_of(line: LogLine, told: dict[str, Any]) -> Row | None:
    """The row of a line, but of the second one."""
    row = msgspec.convert({**told, "node": line.node}, Row)
    return row if row.n != 2 else None


async def lines_of(*made: LogLine) -> AsyncIterator[LogLine]:
    for line in made:
        yield line
    await asyncio.Event().wait()


async def test_a_slow_reader_is_told_how_many_rows_it_missed() -> None:
    rows = followed(
        [
            lines_of(
                LogLine("a", '{"n": 1}'),
                LogLine("a", "no JSON", 2),
                LogLine("a", '{"n": 2}'),
                *(LogLine("a", f'{{"n": {n}}}') for n in range(3, BUFFER + 5)),
            )
        ],
        row_of,
    )
    first = await anext(rows)
    assert first == Row(5, "a", missed=2 + 3)
    assert [(await anext(rows)).n for _ in range(BUFFER - 1)] == list(range(6, BUFFER + 5))
    await rows.aclose()  # type: ignore[attr-defined]


async def test_missed_in_a_line_of_another_node_counts_nothing() -> None:
    rows = followed([lines_of(LogLine("a", '{"missed": "[/]"}'))], row_of)
    assert await anext(rows) == Row(node="a")
    await rows.aclose()  # type: ignore[attr-defined]


async def test_a_failed_stream_ends_its_follower_with_its_error() -> None:
    async def failing() -> AsyncIterator[LogLine]:
        yield LogLine("a", "{}")
        raise NotFound("gone")

    rows = followed([lines_of(), failing()], row_of)
    assert await anext(rows) == Row(node="a")
    with pytest.raises(NotFound):
        await anext(rows)
