"""Followers of logs: each line once and at once, errors once, over restarts and slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from agent.api.requests import LogsQuery
from agent.api.resources import logs as module
from agent.errors import Refused, Unreachable
from agent.logs import LogLines, ReadRequest
from agent.logs import store as store_module
from tests.node.site import Site
from tests.node.step_logs import Follower, Reads, both, rows, write
from tests.support import eventually


@pytest.fixture
async def follow() -> AsyncIterator[Any]:
    made: list[Follower] = []

    def follow(of: Any, **asked: Any) -> Follower:
        made.append(Follower(of, **asked))
        return made[-1]

    yield follow
    for follower in made:
        await follower.close()


async def test_a_follower_gets_lines_of_another_node_at_once(site: Site) -> None:
    hall, porch = await both(site)
    write(porch, "before")
    async with aclosing(hall.api.logs.lines("p", LogsQuery(follow=True))) as lines:  # type: ignore[type-var]
        assert (await anext(lines)).line == "before"
        for n in range(20):
            following = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            write(porch, f"line {n}")
            async with asyncio.timeout(10):
                assert (await following).line == f"line {n}"


async def test_a_follower_is_told_of_lines_that_are_gone(
    site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall, porch = await both(site)
    write(porch, "first")
    reads = Reads(monkeypatch, hall)
    follower = follow(hall)
    await eventually(lambda: len(reads.requests) == 2)
    monkeypatch.setattr(store_module, "RECENT", 2)
    monkeypatch.setattr(store_module, "PENDING", 0)
    for n in range(10):
        write(porch, f"line {n}")
    await eventually(lambda: len(follower.rows) == 3)
    assert [(r.line, r.missed) for r in follower.rows] == [("first", 0), ("line 8", 8), ("line 9", 0)]


async def test_a_node_that_fails_first_sends_new_lines_only(
    site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall, porch = await both(site)
    monkeypatch.setattr(store_module, "now", lambda: "2020-01-01T00:00:00.000Z")
    for n in range(50):
        write(porch, f"old {n}")
    monkeypatch.undo()
    reads = Reads(monkeypatch, hall, *(Unreachable("porch does not answer") for _ in range(3)))
    follower = follow(hall, lines=5)
    await eventually(lambda: len(reads.requests) > 3)
    write(porch, "new")
    await eventually(lambda: follower.lines)
    assert follower.lines == ["new"]
    assert len(follower.rows) == 2


async def test_an_error_is_told_once_until_it_changes(site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, porch = await both(site)
    errors = [Unreachable(f"no answer {n}") for n in (1, 1, 1, 2, 2)]
    reads = Reads(monkeypatch, hall, *errors)
    follower = follow(hall)
    await eventually(lambda: len(reads.requests) > len(errors))
    write(porch, "a line")
    await eventually(lambda: follower.lines)
    assert [r.line[-11:] for r in follower.rows] == ["no answer 1", "no answer 2", "a line"]


@pytest.mark.parametrize("code", ["not-operator", "mesh.verb"])
async def test_a_node_that_refuses_is_not_asked_again(
    site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    hall, _ = await both(site)
    reads = Reads(monkeypatch, hall, Refused("no", code=code))
    follower = follow(hall)
    looked, real = 0, module.Logs.nodes

    def nodes(logs: Any, asked: LogsQuery) -> Any:
        nonlocal looked
        looked += 1
        return real(logs, asked)

    monkeypatch.setattr(module.Logs, "nodes", nodes)
    await eventually(lambda: looked > 5)
    write(hall, "own line")
    await eventually(lambda: follower.lines)
    assert (len(follower.rows), len(reads.requests)) == (2, 1)


async def test_a_follower_goes_on_after_a_restart_of_the_node(
    site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall, porch = await both(site)
    Reads(monkeypatch, hall)
    write(porch, "before")
    follower = follow(hall)
    await eventually(lambda: follower.lines == ["before"])
    await site.stop("porch")
    porch = await site.start("porch")
    write(porch, "after")
    await eventually(lambda: len(follower.lines) > 1, 30)
    assert follower.lines == ["before", "after"]


async def test_lines_of_a_burst_come_in_few_answers(site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, porch = await both(site)
    reads = Reads(monkeypatch, hall)
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    follower = follow(hall)
    await eventually(lambda: len(reads.requests) > 1)
    for n in range(200):
        write(porch, f"line {n}")
        await real(0)
    await eventually(lambda: len(follower.lines) == 200)
    assert module.PAUSE in pauses
    assert len(reads.requests) < 20


async def test_a_slow_reader_stops_the_requests(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, porch = await both(site)
    monkeypatch.setattr(module, "BUFFER", 10)
    reads = Reads(monkeypatch, hall)
    async with aclosing(hall.api.logs.lines("p", LogsQuery(follow=True))) as lines:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(lines))
        await eventually(lambda: len(reads.requests) > 1)
        write(porch, "line 0")
        assert (await first).line == "line 0"
        for n in range(1, 40):
            before = len(reads.requests)
            write(porch, f"line {n}")
            if n < 5:
                await eventually(lambda before=before: len(reads.requests) > before)
        got = [(await anext(lines)).line for _ in range(39)]
    assert got == [f"line {n}" for n in range(1, 40)]


async def test_an_empty_answer_is_followed_by_a_pause(site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hall, _ = await both(site)
    asked = 0

    async def read(logs: Any, node: Any, request: ReadRequest, timeout: float) -> LogLines:
        nonlocal asked
        asked += 1
        return LogLines([])

    monkeypatch.setattr(module.Logs, "_read", read)
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    follow(hall, node="porch")
    await eventually(lambda: asked == 2)
    for _ in range(100):
        await asyncio.sleep(0)
    assert asked == 2


async def test_a_cursor_keeps_to_the_steps_that_a_request_may_name(
    site: Site, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall, _ = await both(site)
    requests: list[ReadRequest] = []

    async def read(logs: Any, node: Any, request: ReadRequest, timeout: float) -> LogLines:
        requests.append(request)
        return LogLines([], {f"s{len(requests)}-{n}": 1 for n in range(40)})

    monkeypatch.setattr(module.Logs, "_read", read)
    monkeypatch.setattr(module, "AGAIN", 0.0)
    follow(hall, node="porch")
    await eventually(lambda: len(requests) > 5)
    assert max(len(r.after) for r in requests) == 64


async def test_many_followers_that_ended_leave_room(site: Site) -> None:
    hall, porch = await both(site)
    write(porch, "a line")
    for _ in range(20):
        follower = Follower(hall)
        await eventually(lambda follower=follower: follower.lines)
        await follower.close()
    assert [r.line for r in await rows(hall, LogsQuery())] == ["a line"]
