"""Random walks over two or three real nodes: every promise holds despite lost, repeated and late messages, cuts and crashes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.delivery.town import PARENTS, Ear, Town, Trouble, Weather
from tests.delivery.watch import Watch
from tests.doubles import virtual_time

LONGEST = 90.0
"""The longest deadline of a step in the town's pipeline."""
ALL_OVER = LONGEST + 60.0 + 45.0
"""Seconds after the last trouble in which every row ends and closes: deadline, LOST_AFTER, and the last retries."""


@dataclass
class Walk:
    """The parts of a walk; `ops` are (name, arguments)."""

    ops: list[tuple[Any, ...]]
    seed: int = 0
    names: str = "abc"
    weather: Weather = field(default_factory=Weather)
    trouble: Trouble = field(default_factory=lambda: Trouble(slowest=0.05))
    largest: int = 1
    commit: float = 0.002
    max_open: int = 10_000
    rests: bool = True


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory on tmpfs where there is one."""
    shm = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="walk-", dir=shm if shm.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def only_errors(watch: Watch) -> Iterator[None]:
    """Log no warning of what a walk does on purpose; an error is a problem."""
    agent, ear = logging.getLogger("agent"), Ear(watch.wrong)
    level = agent.level
    agent.setLevel(logging.ERROR)
    agent.addHandler(ear)
    try:
        yield
    finally:
        agent.removeHandler(ear)
        agent.setLevel(level)


def walk(plan: Walk, prepare: Callable[[Town], None] = lambda town: None) -> tuple[Town, Watch]:
    """Run the walk and what follows until all is quiet; raises AssertionError with the history of what went wrong."""
    watch = Watch()
    with scratch() as path, virtual_time() as loop, only_errors(watch):
        town = Town(loop, path, plan.seed, watch, plan.names, plan.weather, plan.trouble, plan.max_open, plan.rests)
        for node in town.nodes.values():
            node.disk.slowest, node.disk.largest = plan.commit, plan.largest
        prepare(town)
        try:
            loop.run_until_complete(_walk(plan, town, watch))
        except BaseException as e:
            e.add_note(repr(plan))
            raise
        finally:
            loop.between(lambda: None)
            town.close()
    assert not watch.problems, watch.report()
    return town, watch


async def _walk(plan: Walk, town: Town, watch: Watch) -> None:
    town.net.sent, town.net.begun, town.net.served = watch.sent, watch.begun, watch.served
    town.loop.between(watch.turn)
    for node in town.nodes.values():
        node.boot()
    await asyncio.sleep(1.0)
    for op, *args in plan.ops:
        watch.note(f"- {op} {args}")
        await OPS[op](town, *args)
        _look_for_faults(town, watch)
    town.calm()
    watch.note("- calm")
    end = town.loop.time() + ALL_OVER
    while not town.quiet() and town.loop.time() < end:
        await asyncio.sleep(0.5)
    _look_for_faults(town, watch)
    if not town.quiet():
        watch.wrong(f"after {ALL_OVER:.0f} s of calm: {_unfinished(town)}")
    await asyncio.sleep(1.0)
    watch.finish()
    await asyncio.sleep(0)


def _look_for_faults(town: Town, watch: Watch) -> None:
    for fault in town.net.faults:
        watch.wrong(fault)
    for node in town.nodes.values():
        if node.up and node.task is not None and node.task.done():
            watch.wrong(
                f"{node.name} fell over: {node.task.exception() if not node.task.cancelled() else 'cancelled'!r}"
            )


def _unfinished(town: Town) -> str:
    return "; ".join(
        f"{node.name} row {r.n} {r.step} {r.event.id[:5]} {r.state.name} {r.end} target={r.target} closed={r.closed} {r.claims}"
        for node in town.nodes.values()
        for r in node.p.journal.rows.values()
        if not r.closed or any(known < 2 for known in r.claims.values())
    )


# -- what may happen --------------------------------------------------------------------------------------------------


async def _trigger(town: Town, node: str, parent: str, ident: int, many: int) -> None:
    """Some events, one after the other; the same numbers name the same events wherever they are made."""
    for i in range(ident, ident + many):
        await town.nodes[node].trigger(parent, f"{parent} {i}", f"02:00:00:00:00:{i % 5:02x}")


async def _wait(town: Town, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _skip(town: Town, seconds: float) -> None:
    town.loop.skip(seconds)
    town.skipped = town.loop.time()
    await asyncio.sleep(0)


async def _kill(town: Town, node: str, down: float) -> None:
    town.nodes[node].down_for = down
    town.nodes[node].kill()


async def _die_at(town: Town, node: str, commits: int, before: bool, down: float) -> None:
    disk = town.nodes[node].disk
    disk.die_at, disk.die_before, town.nodes[node].down_for = disk.commits + commits, before, down


async def _part(town: Town, a: str, b: str, seconds: float) -> None:
    town.net.part(a, b)
    town.cuts += 1
    town.disturbed = town.loop.time()

    def heal() -> None:
        town.net.heal(a, b)
        town.disturbed = town.loop.time()

    town.loop.call_later(seconds, heal)


async def _announce(town: Town, node: str, free: int) -> None:
    if town.nodes[node].up:
        town.nodes[node].mesh.announce(free)


async def _upgrade(town: Town) -> None:
    town.upgrade()


async def _tamper(town: Town, fault: Callable[[Town], None]) -> None:
    """For the tests of the watch."""
    fault(town)


OPS: dict[str, Callable[..., Awaitable[None]]] = {
    "trigger": _trigger,
    "wait": _wait,
    "skip": _skip,
    "kill": _kill,
    "die_at": _die_at,
    "part": _part,
    "announce": _announce,
    "upgrade": _upgrade,
    "tamper": _tamper,
}


node = st.sampled_from("abc")
seconds = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.5, 4.0, 8.0, 25.0, 70.0, 180.0])
share = st.sampled_from([0.0, 0.05, 0.2, 0.4])
TRIGGERS = [(parent, name) for parent, names in PARENTS.items() for name in names]
trigger = st.builds(
    lambda where, ident, many: ("trigger", where[1], where[0], ident, many),
    st.sampled_from([*TRIGGERS, ("log", "a"), ("log", "c"), ("log", "a")]), st.integers(0, 15), st.integers(1, 4),
)  # fmt: skip
harm = st.one_of(
    st.tuples(st.just("kill"), node, seconds),
    st.tuples(st.just("die_at"), node, st.integers(1, 60), st.booleans(), seconds),
    st.tuples(st.just("part"), node, node, seconds).filter(lambda op: op[1] != op[2]),
    st.tuples(st.just("skip"), st.sampled_from([1.0, 20.0, 45.0, 100.0])),
    st.tuples(st.just("announce"), node, st.sampled_from([0, 1, 1000])),
    st.tuples(st.just("upgrade")),
)
step = st.tuples(trigger, st.tuples(st.just("wait"), seconds), harm, st.tuples(st.just("wait"), seconds))
walks = st.builds(
    lambda steps, **more: Walk([op for step in steps for op in step], **more),
    steps=st.lists(step, min_size=2, max_size=8),
    seed=st.integers(0, 2**16),
    weather=st.builds(
        Weather, lose_request=share, lose_answer=share, repeat=share, busy=share,
        slowest=st.sampled_from([0.0, 0.01, 0.5, 3.0]), notice=st.sampled_from([0.0, 0.5, 8.0]),
    ),
    trouble=st.builds(
        Trouble, fails=share, fails_for_good=share, cannot_run=share, breaks=share, cannot_start=share, sink_refuses=share,
        slowest=st.sampled_from([0.0, 0.05, 2.0, 10.0]),
    ),
    largest=st.sampled_from([1, 4, 512]),
    commit=st.sampled_from([0.0, 0.002, 0.3]),
    max_open=st.sampled_from([10_000, 10_000, 10]),
    rests=st.booleans(),
)  # fmt: skip
LONG = "WALKS" in os.environ
"""WALKS=5000 in the environment takes so many walks, in new places each time; without it they are few and always the same."""


@pytest.mark.timeout(0 if LONG else 900)  # a minute when all is well; finding a short failing walk takes longer
@settings(
    max_examples=int(os.environ.get("WALKS", "30")), derandomize=not LONG, database=None, print_blob=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(walks)
def test_promises_hold_on_random_walks(plan: Walk) -> None:
    walk(plan)


STORY = Walk([("trigger", "a", "log", 0, 1), ("wait", 3.0)], names="ab", commit=0.001)


@cache
def commits_when_nobody_dies() -> dict[str, int]:
    """How many commits each node makes in the story."""
    town, _ = walk(STORY)
    assert town.alerts
    return {node.name: node.disk.commits for node in town.nodes.values()}


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("name", ["a", "b"])
def test_promises_hold_after_death_at_any_commit(name: str) -> None:
    """Every write is a transaction here. The node dies before it, or after it with nobody told; down for a moment or long."""
    many = commits_when_nobody_dies()[name]
    assert many > 30
    for at in range(1, many + 1):
        for before in (False, True) if LONG else (at % 2 == 0,):

            def prepare(town: Town, at: int = at, before: bool = before) -> None:
                node = town.nodes[name]
                node.disk.die_at, node.disk.die_before, node.down_for = at, before, (0.2, 7.0)[at // 2 % 2]

            town, _ = walk(STORY, prepare)
            assert town.nodes[name].deaths == 1


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize(
    ("harm", "then"), [(("skip", 100.0), 1.0), (("kill", "b", 170.0), 160.0), (("part", "a", "b", 170.0), 160.0)]
)
def test_promises_hold_when_nodes_sleep_or_part_at_any_time(harm: tuple[Any, ...], then: float) -> None:
    """All stand still, or a node or a link is away until long after every deadline; answers on their way come too late."""
    step = 0.01 if LONG else 0.1
    for i in range(1, int(2.0 / step)):
        ops = [*STORY.ops[:1], ("trigger", "a", "log", 5, 1), ("wait", i * step), harm, ("wait", then)]
        walk(replace(STORY, ops=ops, weather=Weather(slowest=0.2)))


def test_promises_hold_when_runs_fail_and_answers_come_late() -> None:
    """A row goes back to the node where it failed while the answer to the report of that failure is still on its way."""
    for seed in range(100 if LONG else 10):
        plan = Walk(
            [("trigger", "a", "log", 0, 6), ("wait", 30.0)],
            seed,
            "ab",
            Weather(slowest=3.0),
            Trouble(fails=0.4, cannot_run=0.3),
        )
        walk(plan)
