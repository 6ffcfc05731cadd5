"""The time of learning: counted while the deciding node runs, known to all nodes, ended by an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.delivery import Decision
from agent.model.pipeline import Pipeline, Step
from agent.steps import DeviceInfo
from tests.delivery.deciding import Clock, Council
from tests.delivery.events import event

SCOPE, MAC, OTHER = "presence:p/arrived", "02:00:00:00:00:01", "02:00:00:00:00:02"
HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def council(tmp_path: Path, clock: Clock) -> AsyncIterator[Council]:
    made = Council(tmp_path, clock)
    made.task_for(learn=4 * HOUR)
    made.start("a", "b", "c", "d", "e")
    yield made
    made.close()


async def runs(council: Council, seconds: float) -> None:
    """The node that decides counts once a minute."""
    for _ in range(int(seconds / 60)):
        council.clock.now += 60
        await council.devices[council.decider()].learning.count(SCOPE)


async def sees(council: Council, mac: str, kind: str = "joined") -> list[str]:
    council.clock.now += 1
    made = event(f"e{council.clock.now}", f"wifi.client.{kind}", data={"mac": mac, "sender": "s", "interface": "w"})
    return [o.type for o in await council.see(made)]


def left(council: Council) -> list[float]:
    """Hours that are left, as each node knows it."""
    return [round(d.learning.left(SCOPE, 4 * HOUR) / HOUR, 1) for d in council.devices.values()]


async def test_met_devices_are_no_arrivals_and_pass_to_no_step(council: Council) -> None:
    made = event(data={"mac": MAC, "sender": "s"})
    for _ in range(2):  # a repeated event gets the same answer
        (output,) = await council.see(made)
        assert (output.type, output.passes, output.data["learning"]) == ("device.met", False, True)
    assert await sees(council, MAC, "active") == []
    await runs(council, 4 * HOUR)
    assert await sees(council, MAC, "active") == []
    assert await sees(council, OTHER) == ["device.arrived"]


async def test_known_device_arrives_while_the_step_learns(council: Council) -> None:
    for devices in council.devices.values():
        devices.devices[MAC] = DeviceInfo("anna", known=True)
    assert await sees(council, MAC) == ["device.arrived"]


async def test_every_node_knows_how_long_the_step_still_learns(council: Council) -> None:
    await council.devices[council.decider()].learning.count(SCOPE)
    await runs(council, HOUR)
    assert left(council) == [3.0] * 5


async def test_only_running_time_counts_over_restarts(council: Council) -> None:
    await council.devices[council.decider()].learning.count(SCOPE)
    await runs(council, HOUR)
    for name in list(council.devices):
        council.stop(name)
    council.clock.now += 10 * HOUR
    council.start("a", "b", "c", "d", "e")
    assert left(council) == [3.0] * 5
    await runs(council, HOUR)
    assert left(council) == [2.0] * 5


async def test_another_node_goes_on_counting(council: Council) -> None:
    await council.devices[council.decider()].learning.count(SCOPE)
    await runs(council, HOUR)
    council.stop(council.decider(), disk=False)
    await runs(council, 2 * HOUR)
    assert all(0.9 <= hours <= 1.1 for hours in left(council))
    assert await sees(council, MAC) == ["device.met"]


async def test_empty_node_that_comes_to_decide_asks_the_others(council: Council) -> None:
    await council.devices[council.decider()].learning.count(SCOPE)
    await runs(council, 5 * HOUR)
    decider = council.decider()
    council.stop(decider, disk=False)
    council.start(decider)
    assert await sees(council, MAC) == ["device.arrived"]


async def test_node_that_joins_later_asks_for_the_count(council: Council, clock: Clock) -> None:
    await runs(council, 4.1 * HOUR)
    clock.now += HOUR  # nobody counts any more
    council.start("new")
    learning = council.devices["new"].learning
    assert learning.left(SCOPE, 4 * HOUR) == 4 * HOUR
    await learning.catch_up(SCOPE, 4 * HOUR)
    assert learning.left(SCOPE, 4 * HOUR) == 0.0
    await learning.catch_up("presence:q/other", 4 * HOUR)  # nobody has begun to count
    assert learning.left("presence:q/other", 4 * HOUR) == 4 * HOUR


async def test_node_that_restarts_before_it_is_told_ends_no_learning(council: Council) -> None:
    for name in ("d", "e"):
        council.stop(name)
    await runs(council, HOUR)
    council.start("new")
    for i in range(16):
        await sees(council, f"02:00:00:00:01:{i:02x}")
    council.stop("new")
    council.start("new")
    await runs(council, 60)
    assert set(left(council)) == {3.0}


async def test_stopped_pipeline_has_learned(council: Council) -> None:
    for devices in council.devices.values():
        devices.learning.stopped.add("p")
    assert await sees(council, MAC) == ["device.arrived"]
    assert left(council) == [0.0] * 5
    pipeline = Pipeline(name="q", steps=[Step(name="arrived", kind="presence", task={})])
    assert [hours for _, hours in council.devices["a"].learning.steps_of(pipeline)] == [86400.0]


async def test_mesh_that_worked_before_this_version_has_learned(council: Council) -> None:
    now = council.clock.now
    decider = council.decider()
    await council.deciders[decider].keep(Decision(SCOPE, MAC, "e", now, now + HOUR))
    council.stop(decider)
    council.start(decider)
    assert await sees(council, OTHER) == ["device.arrived"]
