"""`edge-agent logs`: its rows, and its limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import ValidationError, convert

from agent.api.requests import LogsQuery
from agent.api.results import LogRow
from agent.cli.logs import LONGEST, MOST, seconds_since
from agent.logs.wire import MAX_LINES
from tests.api.memory import MemoryAgent
from tests.cli.conftest import Shell


async def test_logs_end_with_an_error_when_their_node_leaves(edge: Shell) -> None:
    shown = await edge("logs", "person-at-the-door/labels", "-n", "2")
    assert shown.out.splitlines()[0].endswith("gpu labels line 0")
    left = await edge("logs", "person-at-the-door/labels", "-f")
    assert (left.code, "the node gpu left" in left.err) == (5, True)


async def test_missed_lines_and_lines_of_the_agent_are_marked(
    edge: Shell, agent: MemoryAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lines(self: Any, pipeline: str, asked: LogsQuery) -> AsyncIterator[LogRow]:
        yield LogRow(node="gpu", time="2026-11-22T09:59:57.000Z", step="labels", line="a line", missed=3)
        yield LogRow(node="gpu", time="2026-11-22T09:59:58.000Z", step="labels", line="it ended", stream="agent")

    monkeypatch.setattr(type(agent.resources.logs), "lines", lines)
    shown = await edge("logs", "person-at-the-door")
    assert shown.out.splitlines() == [
        "09:59:57.000 (3 missed) gpu labels a line", "09:59:58.000 gpu labels agent: it ended",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (await edge("logs", "person-at-the-door", "--json")).out.splitlines()]
    assert [(row.get("missed"), row.get("stream")) for row in rows] == [(3, None), (None, "agent")]


async def test_more_lines_than_an_answer_holds_are_refused(edge: Shell) -> None:
    assert MOST == MAX_LINES
    assert convert({"lines": MOST}, LogsQuery).lines == MOST
    with pytest.raises(ValidationError, match="2000"):
        convert({"lines": MOST + 1}, LogsQuery)
    shown = await edge("logs", "person-at-the-door", "--tail", str(MOST + 1))
    assert (shown.code, f"0<=x<={MOST}" in shown.err) == (2, True)
    assert (await edge("logs", "person-at-the-door", "--tail", str(MOST))).code == 0


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("", None, None), ("10m", 600, 600), ("2h", 7200, 7200), ("0", 0.0005, 0.01)],
)
def test_since_is_a_duration(text: str, least: float | None, most: float | None) -> None:
    found = seconds_since(text)
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


@pytest.mark.parametrize("text", ["18000d", "1999-01-01T00:00:00Z"])
def test_an_early_since_is_cut_to_the_longest_of_the_api(text: str) -> None:
    found = seconds_since(text)
    assert found == LONGEST
    assert convert({"since": found}, LogsQuery).since == LONGEST


async def test_a_since_in_the_future_is_refused(edge: Shell) -> None:
    shown = await edge("logs", "person-at-the-door", "--since", "2999-01-01T00:00:00Z")
    assert (shown.code, "is in the future" in shown.err) == (2, True)


def test_since_is_a_time() -> None:
    found = seconds_since("2026-03-04T09:12:18Z")
    assert found is not None
    assert seconds_since("2026-03-04T09:12:19+00:00") == pytest.approx(found - 1, abs=1)


async def test_a_strange_since_is_refused(edge: Shell) -> None:
    shown = await edge("logs", "person-at-the-door", "--since", "yesterday")
    assert (shown.code, "--since" in shown.err, "10m" in shown.err) == (2, True, True)
