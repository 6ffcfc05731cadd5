"""What one agent does besides its verbs: events for those who watch, renewals, removals."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from agent.mesh.logs import MAX_LINE
from agent.service.agent import Agent
from agent.service.logs import StepLogs
from tests.service.house import House

EVENT = {"specversion": "1.0", "id": "e1", "type": "wifi.client.joined", "time": "2026-11-22T10:00:00Z", "node": "hall"}


async def heard(agent: Agent, event: dict[str, Any]) -> dict[str, Any]:
    """The event as one who watches gets it."""
    async with asyncio.timeout(20), aclosing(agent.events(follow=True, limit=0, kind="", pipeline="")) as passing:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(passing))
        while not first.done():
            agent._publish_event(event)
            await asyncio.wait({first}, timeout=0.1)
        return first.result()


async def test_those_who_watch_get_events_whole_or_without_their_data(house: House) -> None:
    hall = await house.start("hall")
    fits = {**EVENT, "data": {"labels": ["x" * 10_000]}}
    assert await heard(hall, fits) == fits
    long = {**EVENT, "data": {"labels": ["x" * 100_000]}}
    told = await heard(hall, long)
    assert told == {**EVENT, "data": {}, "omitted": len(json.dumps(long, separators=(",", ":")))}


@pytest.mark.parametrize("character", ["x", "\0", '"', "\N{BUG}"])
def test_the_longest_line_of_a_program_can_be_passed_on_as_json(character: str) -> None:
    published: list[str] = []
    StepLogs(lambda _, line: published.append(line)).write("p", "s" * 64, character * 100_000)
    assert len(published[0].encode()) <= MAX_LINE
    assert set(json.loads(published[0])["line"]) == {character}
