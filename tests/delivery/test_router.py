"""Rows that wait are looked at when they fall due, independently of other rows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.rows import Row, State
from agent.delivery.writable_row import new_row
from agent.errors import Unreachable
from agent.executors import Policy
from agent.model.event import Event
from tests.delivery.events import event
from tests.delivery.story import STORY, Building, Program
from tests.support import eventually


async def test_a_row_put_off_after_its_turn_is_not_forgotten(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch")
    router = b.nodes["porch"].p.router
    seen: list[int] = []
    router._route = lambda row: seen.append(row.n)  # type: ignore[method-assign]
    gone, other, late = (new_row(n, event(str(n)), "p", "v", "s") for n in (-1, -2, -3))
    router.later(gone, 0.2)
    router._later.pop(gone.n)
    router.submit(other)  # wakes the loop, which then has nothing to wait for
    await eventually(lambda: other.n in seen)
    await eventually(lambda: router._next == float("inf"))
    router.later(late, 0.0)
    await eventually(lambda: late.n in seen)
    await b.stop()


@pytest.mark.parametrize("answer", ["first", "not the first", "nobody answers"])
async def test_a_row_that_ended_before_its_decision_is_left_alone(tmp_path: Path, answer: str) -> None:
    b = Building(tmp_path, STORY.replace("prefer: gpu=true", "dedupe: {key: root, for: 5m}"))
    b.start("porch")
    p = b.nodes["porch"].p
    asked, decided = asyncio.Event(), asyncio.Event()

    async def first(*_: Any) -> bool:
        asked.set()
        await decided.wait()
        if answer == "nobody answers":
            raise Unreachable("nobody is there")
        return answer == "first"

    p.router.deciders.first = first  # type: ignore[method-assign]
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"}, "e")
    await asked.wait()
    row = p.journal.find("e", b.pipeline.name, "labels", "")
    assert row is not None
    p.apply(p.lifecycle.ended(row, "expired"))
    changes: list[Row] = []
    write = p.journal.write
    p.journal.write = lambda made: (changes.extend(made.written.values()), write(made))[1]  # type: ignore[method-assign]
    decided.set()
    await p.journal.commit()
    assert (row.end, row.decided, changes) == ("expired", False, [])
    await b.stop()


async def test_a_row_on_its_way_is_not_sent_again(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu")
    asked = 0
    answer = asyncio.Event()

    async def accept(peer: Any, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await answer.wait()
        raise Unreachable("the answer is lost")

    b.net.nodes["gpu"].handlers["pipeline.deliver"] = accept
    p = b.nodes["porch"].p
    await p.journal.commit()  # the engine runs
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"}, "e")
    row = p.journal.find("e", b.pipeline.name, "labels", "")
    assert row is not None
    await eventually(lambda: asked == 1)
    p.router.submit(row)
    await eventually(lambda: not p.router._ready)
    assert (row.state, row.choice, asked) == (State.SENDING, 1, 1)
    await b.stop()


async def test_a_refusal_of_the_owner_is_the_reason_of_the_row(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    b.nodes["gpu"].p.receiver.check = Policy(docker=False).check
    await b.nodes["porch"].p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"}, "event-1")
    rows = b.nodes["porch"].p.journal.rows
    await eventually(lambda: any(r.reason for r in rows.values()))
    (row,) = [r for r in rows.values() if r.step == "labels"]
    assert row.reason == "gpu refuses it: this node does not allow docker steps (policy.docker)"
    b.nodes["gpu"].p.receiver.check = Policy().check
    await eventually(lambda: row.end == "delivered")
    assert row.reason == ""
    await b.stop()


async def test_a_node_sends_away_what_its_owner_forbids(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("gpu", "old")
    router = b.nodes["gpu"].p.router
    step = b.pipeline.step("labels")
    assert step is not None
    row = new_row(1, Event(id="e", source="/gpu/p/small", type="t", time=""), "p", "v", "labels")
    assert [n.id for n in router.ranked(row, step)] == ["gpu", "old"]
    router.check = Policy(docker=False).check
    assert [n.id for n in router.ranked(row, step)] == ["old"]
    await b.nodes["old"].stop()
    assert [n.id for n in router.ranked(row, step)] == ["gpu"]  # its status shows the refusal
    await b.stop()


@pytest.mark.parametrize("pick", ["one", "all"])
async def test_no_row_waits_for_a_node_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pick: str
) -> None:
    b = Building(tmp_path, STORY.replace("prefer: gpu=true", f"pick: {pick}"))
    b.start("porch", "gpu")
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any) -> Any:
        begun.set()
        await never.wait()

    monkeypatch.setattr(Program, "run", hang)
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"}, "e")
    await begun.wait()
    (row,) = [r for r in p.journal.rows.values() if r.step == "labels" and r.target == "gpu"]
    await eventually(lambda: row.state is State.PLACED)
    b.net.removed.add("gpu")
    b.net.leave("gpu")
    ends = {"one": (State.WAITING, ""), "all": (State.ENDED, "lost")}
    await eventually(lambda: (row.state, row.end or "") == ends[pick])
    await b.stop()
