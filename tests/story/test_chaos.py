"""A thousand arrivals while agents die and come back at random: every event has one end, the sink each alert once.

`EDGE_STORY_SEED` sets another schedule, `EDGE_STORY_KEEP` a folder to keep the states in.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.executors.docker_image import busybox_image
from tests.story.building import FILTERS, Building, arrive, building
from tests.story.pipelines import story

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(420)]

ARRIVALS, BURST = 1000, 25
SECONDS = 45.0
"""For how long devices come and agents die."""
SETTLE = 240.0
SEED = int(os.environ.get("EDGE_STORY_SEED", "7"))


@pytest.fixture
def agents() -> Iterator[Building]:
    """Five agents: the access point, two with cameras (one also leads out), two with Docker."""
    busybox_image()
    with building() as b:
        b.add("box", docker=True)
        b.add("ap", labels={"wifi-log": "true"})
        b.add("porch", labels={"camera": "true"}, cameras=("porch",))
        b.add("garage", labels={"camera": "true", "uplink": "true"}, cameras=("empty",))
        b.add("shed", labels={"uplink": "true"}, docker=True)
        b.start()
        b.connect_sink("garage", "shed")
        b.apply(story(str(FILTERS)), b["box"])
        yield b


def schedule(rng: random.Random, names: list[str]) -> list[tuple[float, str, str]]:
    """(second, what, node): deaths (the sink's too), returns after up to eight seconds, and bursts of devices."""
    made: list[tuple[float, str, str]] = [
        (SECONDS * i * BURST / ARRIVALS, "arrive", "ap") for i in range(ARRIVALS // BURST)
    ]
    names = [*names, "sink"]
    at, down = 1.0, dict.fromkeys(names, 0.0)
    while at < SECONDS:
        name = rng.choice(names)
        if down[name] <= at:
            down[name] = at + rng.choice((0.0, 1.0, 3.0, 8.0))
            made += [(at, "kill", name), (down[name], "start", name)]
        at += rng.uniform(1.0, 3.0)
    return sorted(made, key=lambda x: x[0])


def disturb(b: Building, rng: random.Random) -> int:
    """Do what the schedule says; returns the number of deaths."""
    began, kills, written = time.monotonic(), 0, 0
    for at, what, name in schedule(rng, list(b.nodes)):
        time.sleep(max(0.0, began + at - time.monotonic()))
        process = b.sink if name == "sink" else b[name]
        if what == "arrive":
            arrive(b["ap"], range(written, written + BURST))
            written += BURST
        elif what == "start":
            process.start()
        else:
            process.kill()
            kills += 1
    return kills


def expected(b: Building) -> set[str]:
    """Roots for which the camera that sees a person was a target, as the journals say."""
    porch = b["porch"].id
    return {r["root"] for n in b.nodes.values() if n.running for r in n.rows("step = 'photos' AND slot = ?", porch)}


def test_random_deaths_lose_nothing_and_show_nothing_twice(agents: Building) -> None:
    print(f"seed {SEED}")
    kills = disturb(agents, random.Random(SEED))
    for node in agents.nodes.values():
        node.wait()
    began = time.monotonic()
    agents.until("all lines are read", lambda: agents["ap"].devices_read() == ARRIVALS, SETTLE)
    try:
        agents.until("everything has ended", agents.quiet, SETTLE)
    except AssertionError as e:
        pytest.fail(f"{e}\n{len(agents.alerts())} alerts\n" + "\n".join(agents.unfinished()[:60]))
    print(f"{kills} deaths; quiet {time.monotonic() - began:.0f} s after the last; {agents.ends()}")
    agents.check_sums()
    for step, ends in agents.ends().items():
        assert not ends.keys() & {"failed", "expired", "lost", "open"}, (step, ends)
    alerts = agents.alerts()
    assert {camera for _, _, camera in alerts} == {"porch/porch"}
    assert Counter(root for _, root, _ in alerts).most_common(1)[0][1] == 1
    wanted = expected(agents)
    assert {root for _, root, _ in alerts} == wanted
    # Without a camera at that moment, too, every arrival got as far as the photos step.
    assert len({r["root"] for n in agents.nodes.values() for r in n.rows("step = 'photos'")}) == ARRIVALS
    assert len(wanted) > ARRIVALS // 5
