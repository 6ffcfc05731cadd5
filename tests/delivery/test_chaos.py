"""Random deaths, cuts and lost answers, seeded: afterwards every event has one end and the sink has each alert once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.delivery.driver import every_row
from tests.delivery.story import STORY, Building, Node
from tests.support import eventually

FAST = STORY.replace("shots: 2, every: 0s", "shots: 1").replace("deadline: 15s", "deadline: 10m")


async def disturb(b: Building, rng: random.Random, rounds: int) -> None:
    """Kill and restart nodes and cut links, one thing after another."""
    names = list(b.nodes)
    for _ in range(rounds):
        await asyncio.sleep(rng.uniform(0.02, 0.2))
        if rng.random() < 0.7:
            node = b.nodes[rng.choice(names)]
            await node.stop()
            await asyncio.sleep(rng.uniform(0.0, 0.3))
            node.start()
        else:
            pair = frozenset(rng.sample(names, 2))
            b.net.cut.add(pair)
            for a in pair:
                if a in b.net.nodes:
                    (other,) = pair - {a}
                    if other in b.net.nodes:
                        b.net.nodes[a].tell(b.net.nodes[other].record, False)
            await asyncio.sleep(rng.uniform(0.05, 0.4))
            b.net.cut.discard(pair)
            for a in pair:
                (other,) = pair - {a}
                if a in b.net.nodes and other in b.net.nodes:
                    b.net.nodes[a].tell(b.net.nodes[other].record, True)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_random_deaths_and_cuts_lose_and_repeat_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    b = Building(tmp_path, FAST, seed=seed, lose=0.02)
    b.start("ap", "porch", "gpu", "old", "up")
    chaos = asyncio.create_task(disturb(b, rng, 20))
    roots: set[str] = set()
    while len(roots) < 150:
        if "ap" in b.net.nodes:
            roots.add(await b.join(f"02:00:00:00:00:{len(roots):02x}"))
        await asyncio.sleep(0.01)
    await chaos
    try:
        await eventually(b.quiet, timeout=60)
    except AssertionError:
        pytest.fail(b.unfinished())
    b.check_sums()
    alerted = [r.event.root for r in every_row(b.nodes["up"].p.journal) if r.step == "alert" and r.end == "delivered"]
    assert len(alerted) == len(set(alerted)) == len(b.alerts)
    # A camera node that is down when the list of targets is frozen is no target: that end is recorded, with its reason.
    without = {
        r.event.root
        for n in b.nodes.values()
        for r in every_row(n.p.journal)
        if r.step == "photos" and r.end == "skipped" and r.reason == "no node"
    }
    assert roots == set(alerted) | without
    assert len(alerted) > 100
    await b.stop()


async def test_a_node_destroyed_for_good_loses_nothing(tmp_path: Path) -> None:
    b = Building(tmp_path, FAST)
    b.start("ap", "porch", "gpu", "old", "up")
    for i in range(100):
        await b.join(f"02:00:00:00:00:{i:02x}")
    await eventually(lambda: b.runs["docker"] > 10)
    await b.nodes["gpu"].stop(disk=False)
    del b.nodes["gpu"]
    await eventually(lambda: len(b.alerts) == 100, timeout=60)
    assert isinstance(b.nodes["up"], Node)
    await b.stop()
