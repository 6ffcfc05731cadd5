"""Rows for those who watch what other nodes publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.api.following import BUFFER, followed
from agent.errors import NotFound
from agent.mesh import LogLine


async def lines_of(*made: LogLine) -> AsyncIterator[LogLine]:
    for line in made:
        yield line
    await asyncio.Event().wait()


async def test_who_follows_is_told_how_many_rows_did_not_come() -> None:
    rows = followed(
        [
            lines_of(
                LogLine("a", '{"n": 1}'),
                LogLine("a", "no JSON", 2),
                LogLine("a", '{"n": 2}'),
                *(LogLine("a", f'{{"n": {n}}}') for n in range(3, BUFFER + 5)),
            )
        ],
        lambda line, row: row | {"from": line.node} if row["n"] != 2 else None,
    )
    first = await anext(rows)
    assert first == {"n": 5, "from": "a", "missed": 2 + 3}
    assert [(await anext(rows))["n"] for _ in range(BUFFER - 1)] == list(range(6, BUFFER + 5))
    await rows.aclose()  # type: ignore[attr-defined]


async def test_no_other_node_says_what_was_missed_here() -> None:
    rows = followed([lines_of(LogLine("a", '{"missed": "[/]"}'))], lambda _, row: row)
    assert await anext(rows) == {}
    await rows.aclose()  # type: ignore[attr-defined]


async def test_a_stream_that_fails_ends_what_follows_it_with_its_error() -> None:
    async def failing() -> AsyncIterator[LogLine]:
        yield LogLine("a", "{}")
        raise NotFound("gone")

    rows = followed([lines_of(), failing()], lambda _, row: row)
    assert await anext(rows) == {}
    with pytest.raises(NotFound):
        await anext(rows)
