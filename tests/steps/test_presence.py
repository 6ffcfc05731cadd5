"""Which joins are arrivals: one record for each device in the whole mesh."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agent.errors import StepFailed
from agent.model.event import event_id
from agent.steps import DeviceInfo
from agent.steps.presence import HELD, REMEMBER, PresenceTask
from tests.delivery.deciding import Clock, Council
from tests.delivery.events import event

MAC = "02:00:00:00:00:01"
MINUTE, HOUR = 60.0, 3600.0
TASK = PresenceTask()


class Building:
    """Access points that tell the mesh what devices do; the decider of a device answers, as routed deliveries would."""

    def __init__(self, council: Council, clock: Clock) -> None:
        self.council, self.clock, self.count = council, clock, 0

    async def sees(
        self, kind: str, mac: str = MAC, *, ap: str = "ap1", ident: str = "", **data: Any
    ) -> list[dict[str, Any]]:
        """The data of the arrivals that follow."""
        self.count += 1
        made = event(
            ident or event_id("seen", self.count), f"wifi.client.{kind}", node=ap, time=ident or f"t{self.clock.now:.0f}",
            data={"mac": mac, "interface": "wlan0", **data},
        )  # fmt: skip
        decider = self.council.ranked("", mac.lower())[0]
        found = await self.council.presence[decider].see("p/arrived", TASK, made)
        assert all(kind == "device.arrived" for kind, _ in found)
        return [data for _, data in found]

    async def after(self, seconds: float, kind: str, mac: str = MAC, **fields: Any) -> bool:
        """Whether it is an arrival."""
        self.clock.now += seconds
        return bool(await self.sees(kind, mac, **fields))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def building(tmp_path: Path, clock: Clock) -> Any:
    council = Council(tmp_path, clock)
    council.start("ap1", "ap2", "ap3", "hall", "gpu")
    yield Building(council, clock)
    council.close()


async def test_a_device_that_was_never_seen_arrives(building: Building) -> None:
    assert await building.after(0, "joined")


async def test_only_a_join_is_an_arrival(building: Building) -> None:
    assert not await building.after(0, "left")
    assert not await building.after(HOUR, "roamed")
    assert not await building.after(HELD + 1, "left")


async def test_a_device_that_returns_after_away_arrives_again(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(HOUR, "left")
    assert not await building.after(TASK.away - 1, "joined")
    assert not await building.after(MINUTE, "left")
    assert await building.after(TASK.away + 1, "joined")


async def test_a_device_that_was_turned_away_arrives_when_it_is_let_in(building: Building) -> None:
    assert not await building.after(0, "rejected")
    assert await building.after(5, "joined")


async def test_every_sign_of_life_begins_the_time_away_anew(building: Building) -> None:
    assert await building.after(0, "joined")
    for _ in range(6):
        assert not await building.after(10 * MINUTE, "left")
        assert not await building.after(20 * MINUTE, "joined")


async def test_a_roam_from_one_access_point_to_another_is_no_arrival(building: Building) -> None:
    assert await building.after(0, "joined", ap="ap1")
    assert not await building.after(5 * HOUR, "joined", ap="ap2")
    assert not await building.after(0.2, "left", ap="ap1")
    assert not await building.after(20 * MINUTE, "joined", ap="ap3")


async def test_a_phone_that_slept_while_associated_does_not_arrive(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(9 * HOUR, "joined")
    assert not await building.after(11 * HOUR, "roamed")


async def test_a_lost_left_line_does_not_hold_a_device_for_ever(building: Building) -> None:
    assert await building.after(0, "joined")
    assert await building.after(HELD + 1, "joined")


async def test_joins_after_a_restart_only_refresh(building: Building) -> None:
    assert not await building.after(0, "joined", restarted_s=TASK.settle - 1)
    assert not await building.after(MINUTE, "left")
    assert not await building.after(20 * MINUTE, "joined")  # the refresh counts as a sign of life
    assert not await building.after(0, "left")
    assert await building.after(HOUR, "joined", restarted_s=TASK.settle + 1)


async def test_a_repeated_event_gets_the_same_answer(building: Building) -> None:
    one = await building.sees("joined", ident="e1")
    assert one
    building.clock.now += 1
    assert await building.sees("joined", ident="e1") == one
    assert not await building.after(5, "left")
    assert len(await building.sees("joined", ident="e1")) == 1
    assert not await building.after(5, "joined", ident="e2")
    assert not await building.sees("joined", ident="e2")


async def test_the_record_outlives_its_decider(building: Building) -> None:
    assert await building.after(0, "joined")
    decider = building.council.ranked("", MAC)[0]
    building.council.stop(decider, disk=False)
    assert not await building.after(MINUTE, "joined")
    building.council.start(decider)
    assert not await building.after(MINUTE, "joined")


async def test_devices_are_apart_and_the_case_of_a_mac_is_ignored(building: Building) -> None:
    assert await building.after(0, "joined", "02:AA:00:00:00:01")
    assert await building.after(0, "joined", "02:aa:00:00:00:02")
    assert not await building.after(1, "joined", "02:aa:00:00:00:01")


async def test_an_arrival_says_who_it_is(building: Building) -> None:
    for records in building.council.devices.values():
        records.devices["00:11:22:33:44:55"] = DeviceInfo("anna", known=True)
    (data,) = await building.sees("joined", "00:11:22:33:44:55")
    device = data["device"]
    assert device == {
        "mac": "00:11:22:33:44:55", "known": True, "name": "anna", "private": False, "first_seen": data["joined"]
    }  # fmt: skip
    assert data["interface"] == "wlan0"
    (data,) = await building.sees("joined", "da:11:22:33:44:55")
    assert data["device"]["private"] is True
    assert data["device"]["known"] is False
    assert "name" not in data["device"]


async def test_the_first_time_that_a_device_was_seen_stays_with_it(building: Building) -> None:
    (data,) = await building.sees("joined")
    born = data["device"]["first_seen"]
    assert not await building.after(HOUR, "left")
    building.clock.now += 2 * HOUR
    (data,) = await building.sees("joined")
    assert data["device"]["first_seen"] == born != data["joined"]


async def test_a_device_that_is_forgotten_arrives_again(building: Building) -> None:
    assert await building.after(0, "joined")
    assert MAC in building.council.devices[building.council.ranked("", MAC)[0]].seen()
    forgotten = [d.forget(MAC) for d in building.council.devices.values()]
    assert sum(forgotten) == 3  # the decider and its two witnesses
    assert not any(d.forget(MAC) for d in building.council.devices.values())
    assert await building.after(1, "joined")


async def test_a_device_that_was_not_seen_for_long_arrives(building: Building) -> None:
    assert await building.after(0, "joined")
    assert await building.after(REMEMBER + 1, "joined")


async def test_a_late_leave_after_a_roam_does_not_make_it_gone(building: Building) -> None:
    assert await building.after(0, "joined", ap="ap1")
    assert not await building.after(HOUR, "joined", ap="ap2")
    assert not await building.after(5 * MINUTE, "left", ap="ap1")
    assert not await building.after(3 * HOUR, "joined", ap="ap2")
    assert not await building.after(MINUTE, "joined", ap="ap2", interface="wlan1")
    assert not await building.after(5 * MINUTE, "left", ap="ap2", interface="wlan0")
    assert not await building.after(3 * HOUR, "joined", ap="ap2")
    assert not await building.after(MINUTE, "left", ap="ap2")
    assert await building.after(HOUR, "joined", ap="ap1")


@pytest.mark.parametrize("mac", ["", "wlan0", "02:00:00:00:00", "02-00-00-00-00-01", 7])
async def test_an_event_without_a_mac_fails_for_good(building: Building, mac: object) -> None:
    with pytest.raises(StepFailed, match=r"data\.mac") as caught:
        await building.council.presence["hall"].see("p/arrived", TASK, event("e", data={"mac": mac}))
    assert caught.value.final
    assert not building.council.deciders["hall"].records


# -- a day ------------------------------------------------------------------------------------------------------------


def day(rng: random.Random, device: int) -> tuple[list[tuple[float, str, str, float]], int]:
    """The actions of one device in a day as (time, kind, access point, seconds since the restart), and its true arrivals.

    Some are at home all day, some go out once or twice for more than `away`. All sleep (left for up to 25 minutes, or silent
    for hours), roam between access points with the two lines in either order, and lose a left line now and then.
    """
    mac_events: list[tuple[float, str, str, float]] = []
    aps = ["ap1", "ap2", "ap3"]
    at, ap, arrivals = rng.uniform(0, 2 * HOUR), rng.choice(aps), 1
    mac_events.append((at, "joined", ap, 1e9))
    outings = device % 3
    while at < 23 * HOUR:
        act = rng.choice(["sleep", "silent", "roam", "roam", "out"])
        if act == "sleep":
            at += rng.uniform(60, HOUR)
            if rng.random() < 0.8:
                mac_events.append((at, "left", ap, 1e9))
            at += rng.uniform(5, 25 * MINUTE)
            mac_events.append((at, "joined", ap, 1e9))
        elif act == "silent":
            at += rng.uniform(HOUR, 5 * HOUR)
            mac_events.append((at, "joined", ap, 1e9))
        elif act == "roam":
            at += rng.uniform(10, HOUR)
            to = rng.choice(aps)
            if to != ap:
                late = rng.choice(
                    [rng.uniform(-3, 3), 5 * MINUTE]
                )  # the old access point notices at once or by silence
                mac_events += [(at, "joined", to, 1e9), (at + late, "left", ap, 1e9)]
            ap = to
            at += 6 * MINUTE
        elif outings:
            outings -= 1
            at += rng.uniform(60, HOUR)
            mac_events.append((at, "left", ap, 1e9))
            at += rng.uniform(31 * MINUTE, 4 * HOUR)
            mac_events.append((at, "joined", ap, 1e9))
            arrivals += 1
    return mac_events, arrivals


async def test_a_day_of_40_devices_has_no_false_or_missed_arrival(building: Building) -> None:
    rng = random.Random(40)
    start, expected, events = building.clock.now, {}, []
    for i in range(40):
        mac = f"02:00:00:00:01:{i:02x}"
        made, expected[mac] = day(rng, i)
        events += [(at, kind, mac, ap, since) for at, kind, ap, since in made]
        # Twice a day an access point restarts: everybody who is at home joins again within its first minutes.
        for restart in (6 * HOUR, 15 * HOUR):
            last = max((e for e in made if e[0] < restart and e[1] == "joined"), default=None, key=lambda e: e[0])
            if last is not None and not any(e[1] == "left" and last[0] < e[0] < restart + 180 for e in made):
                events.append((restart + rng.uniform(5, 170), "joined", mac, last[2], 170.0))
    counted = dict.fromkeys(expected, 0)
    for at, kind, mac, ap, since in sorted(events):
        building.clock.now = start + at
        counted[mac] += len(await building.sees(kind, mac, ap=ap, restarted_s=since))
        if rng.random() < 0.01:  # now and then a node restarts
            name = rng.choice(["hall", "gpu", "ap1", "ap2"])
            building.council.stop(name)
            building.council.start(name)
    assert counted == expected
    assert sum(expected.values()) > 60
