"""Which signs of life are arrivals: one record for each device in the whole mesh, on the nodes that decide and witness."""

from __future__ import annotations

import pytest

from agent.delivery import Decision
from agent.errors import StepFailed
from agent.steps import DeviceInfo
from agent.steps.device_records import as_record, as_seen
from agent.steps.presence import REMEMBER, PresenceKind
from agent.steps.presence_rules import HELD, HELD_THING, Place, Seen
from tests.delivery.events import event
from tests.steps.wifi import AWAY, HOUR, MAC, MINUTE, OTHER, Building


@pytest.mark.parametrize("kind", ["joined", "roamed", "active"])
async def test_unmet_device_arrives_with_any_sign_of_life(building: Building, kind: str) -> None:
    assert await building.after(0, kind)
    assert not await building.after(1, "joined")


async def test_unmet_device_heard_leaving_arrives_at_its_next_sign(building: Building) -> None:
    assert not await building.after(0, "left")
    assert await building.after(5, "joined")


async def test_device_that_returns_after_away_arrives_again(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(HOUR, "left")
    assert not await building.after(AWAY - 1, "joined")
    assert not await building.after(MINUTE, "left")
    assert await building.after(AWAY + 1, "joined")


async def test_rejected_device_arrives_when_it_is_let_in(building: Building) -> None:
    assert not await building.after(0, "rejected")
    assert await building.after(5, "joined")


async def test_every_sign_of_life_begins_the_time_away_anew(building: Building) -> None:
    assert await building.after(0, "joined")
    for _ in range(6):
        assert not await building.after(10 * MINUTE, "left")
        assert not await building.after(20 * MINUTE, "joined")


async def test_roam_to_another_access_point_is_no_arrival(building: Building) -> None:
    assert await building.after(0, "joined", ap="ap1")
    assert not await building.after(5 * HOUR, "joined", ap="ap2")
    assert not await building.after(0.2, "left", ap="ap1")
    assert not await building.after(20 * MINUTE, "joined", ap="ap3")


async def test_late_leave_after_a_roam_does_not_make_it_gone(building: Building) -> None:
    assert await building.after(0, "joined", ap="ap1")
    assert not await building.after(HOUR, "joined", ap="ap2")
    assert not await building.after(15 * MINUTE, "left", ap="ap1")
    assert not await building.after(3 * HOUR, "joined", ap="ap2")
    assert not await building.after(MINUTE, "joined", ap="ap2", interface="wlan1")
    assert not await building.after(5 * MINUTE, "left", ap="ap2", interface="wlan0")
    assert not await building.after(3 * HOUR, "joined", ap="ap2")
    assert not await building.after(MINUTE, "left", ap="ap2")
    assert await building.after(HOUR, "joined", ap="ap1")


@pytest.mark.parametrize("differs", ["sender", "access_point"])
async def test_two_access_points_with_one_interface_are_two_places(building: Building, differs: str) -> None:
    here = {"sender": "10.0.0.1", "access_point": "roof", "ap": "hall"}
    assert await building.after(0, "joined", **here)
    assert not await building.after(HOUR, "joined", **(here | {differs: "other"}))
    assert not await building.after(15 * MINUTE, "left", **here)
    assert not await building.after(2 * HOUR, "joined", **here)


async def test_a_leave_without_an_interface_is_of_any_interface(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(HOUR, "left", interface=None)
    assert await building.after(HOUR, "joined")


async def test_leave_that_names_no_access_point_is_of_its_sender(building: Building) -> None:
    assert await building.after(0, "joined", ap="10.0.0.1", access_point="hall")
    assert not await building.after(HOUR, "left", ap="10.0.0.2")
    assert not await building.after(AWAY + 1, "joined", ap="10.0.0.1", access_point="hall")
    assert not await building.after(HOUR, "left", ap="10.0.0.1")  # the sender stands for the access point
    assert await building.after(AWAY + 1, "joined", ap="10.0.0.1", access_point="hall")


async def test_phone_asleep_for_13_hours_without_a_leave_is_present(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(13 * HOUR, "joined")
    assert not await building.after(11 * HOUR, "roamed")


async def test_lost_leave_does_not_hold_an_unknown_device_for_ever(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(HELD + 1, "joined")  # it may be a thing that is never away
    assert not await building.after(1, "left")
    assert not await building.after(1, "joined")
    assert await building.after(HELD + 1, "joined")
    assert await building.after(0, "joined", OTHER)
    assert await building.after(HELD_THING + 1, "joined", OTHER)


async def test_known_device_is_not_announced_for_silence_alone(building: Building) -> None:
    building.call(knows=DeviceInfo("tv", known=True))
    assert await building.after(0, "joined")
    assert not await building.after(5 * 24 * HOUR, "joined")
    assert not await building.after(1, "left")
    assert await building.after(HOUR, "joined")


async def test_longest_proven_silence_extends_the_bound(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(40 * HOUR, "active")
    assert not await building.after(50 * HOUR, "joined")


async def test_sign_of_life_without_a_join_announces_the_unknown_only(building: Building) -> None:
    building.call(knows=DeviceInfo("anna", known=True))
    for mac in (MAC, OTHER):
        assert await building.after(0, "joined", mac)
        assert not await building.after(MINUTE, "left", mac)
    building.clock.now += 2 * HOUR
    assert not await building.after(0, "active", MAC)
    assert await building.after(0, "active", OTHER)


# -- time ---------------------------------------------------------------------------------------------------------


async def test_old_lines_read_late_do_not_change_what_is_newer(building: Building) -> None:
    assert await building.after(0, "joined", ap="ap1")
    assert not await building.after(HOUR, "joined", ap="ap2")
    assert not await building.after(1, "left", ap="ap2", ago=20 * MINUTE)
    assert not await building.after(HOUR, "joined", ap="ap2")


async def test_age_of_a_line_counts_and_not_when_it_is_read(building: Building) -> None:
    assert await building.after(0, "joined")
    building.clock.now += 3 * HOUR
    assert not await building.after(0, "left", ago=50 * MINUTE)
    assert await building.after(0, "joined", ago=10 * MINUTE)
    assert await building.after(0, "joined", OTHER, ago=-HOUR)  # a clock that is ahead: it is now
    assert building.council.devices[building.decider].seen()[OTHER].at == building.clock.now


# -- the record ---------------------------------------------------------------------------------------------------


async def test_repeated_event_gets_the_same_answer(building: Building) -> None:
    one = await building.sees("joined", ident="e1")
    assert one
    building.clock.now += 1
    assert await building.sees("joined", ident="e1") == one
    assert not await building.after(5, "left")
    assert len(await building.sees("joined", ident="e1")) == 1
    assert not await building.after(5, "joined", ident="e2")
    assert not await building.sees("joined", ident="e2")


async def test_record_outlives_its_decider(building: Building) -> None:
    assert await building.after(0, "joined")
    decider = building.decider
    building.council.stop(decider, disk=False)
    assert not await building.after(MINUTE, "joined")
    building.council.start(decider)
    assert not await building.after(MINUTE, "joined")


async def test_devices_are_apart_and_the_case_of_a_mac_is_ignored(building: Building) -> None:
    assert await building.after(0, "joined", "02:AA:00:00:00:01")
    assert await building.after(0, "joined", "02:aa:00:00:00:02")
    assert not await building.after(1, "joined", "02:aa:00:00:00:01")


async def test_arrival_says_which_device_and_where(building: Building) -> None:
    mac = "00:11:22:33:44:55"
    building.call(knows=DeviceInfo("anna", known=True), mac=mac)
    (made,) = await building.sees("joined", mac, ap="porch")
    assert made.data["device"] == {
        "mac": mac, "known": True, "name": "anna", "private": False, "first_seen": made.data["joined"]
    }  # fmt: skip
    assert (made.data["interface"], made.data["access_point"]) == ("wlan0", "porch")
    (made,) = await building.sees("joined", "da:11:22:33:44:55")
    assert made.data["device"]["private"] is True
    assert made.data["device"]["known"] is False
    assert "name" not in made.data["device"]


async def test_time_of_the_first_meeting_stays_with_the_device(building: Building) -> None:
    (made,) = await building.sees("joined")
    born = made.data["device"]["first_seen"]
    assert not await building.after(HOUR, "left")
    building.clock.now += 2 * HOUR
    (made,) = await building.sees("joined")
    assert made.data["device"]["first_seen"] == born != made.data["joined"]


async def test_forgotten_device_arrives_again(building: Building) -> None:
    assert await building.after(0, "joined")
    assert MAC in building.council.devices[building.decider].seen()
    assert 2 <= sum(d.forget(MAC) for d in building.council.devices.values()) <= 3  # the decider and its witnesses
    assert not any(d.forget(MAC) for d in building.council.devices.values())
    assert await building.after(1, "joined")


async def test_device_that_was_not_seen_for_a_month_arrives(building: Building) -> None:
    assert await building.after(0, "joined")
    assert await building.after(REMEMBER + 1, "joined")


@pytest.mark.parametrize("mac", ["", "wlan0", "02:00:00:00:00", "02-00-00-00-00-01", 7])
async def test_event_without_a_mac_fails_for_good(building: Building, mac: object) -> None:
    with pytest.raises(StepFailed, match=r"data\.mac") as caught:
        await building.sees("joined", data={"mac": mac}, mac=mac)  # type: ignore[arg-type]
    assert caught.value.final
    assert not building.council.deciders["hall"].records


async def test_addresses_of_one_device_share_its_record_and_name(building: Building) -> None:
    assert await building.after(0, "joined", OTHER)
    building.call(knows=DeviceInfo("anna", known=True))
    building.call(knows=DeviceInfo(same_as=MAC), mac=OTHER)
    assert not await building.after(MINUTE, "joined", MAC)
    assert not await building.after(MINUTE, "left", MAC)
    assert not await building.after(MINUTE, "joined", OTHER)
    assert not await building.after(MINUTE, "left", OTHER)
    building.clock.now += HOUR
    (made,) = await building.sees("joined", OTHER)
    assert made.data["device"]["mac"] == MAC
    assert made.data["device"]["name"] == "anna"


@pytest.mark.parametrize("circle", [False, True])
async def test_chains_and_circles_of_addresses_end_at_one_device(building: Building, circle: bool) -> None:
    third = "02:00:00:00:00:03"
    building.call(knows=DeviceInfo(same_as=OTHER), mac=third)
    building.call(knows=DeviceInfo(same_as=MAC), mac=OTHER)
    if circle:
        building.call(knows=DeviceInfo(same_as=third), mac=MAC)
    records = building.council.devices["hall"]
    assert {records.device_of(m) for m in (MAC, OTHER, third)} == {MAC}
    assert records.addresses(MAC) == [MAC, OTHER, third]


def test_records_of_the_previous_version_are_read() -> None:
    old = Decision(
        "presence:p/s", MAC, "e", 5.0, 9.0, True, {"first_seen": "a", "last_seen": "b", "node": "n", "interface": "w"}
    )
    seen = as_seen(old)
    assert seen == Seen(
        at=5.0, present=True, place=Place(interface="w", node="n"), first_seen="a", last_seen="b", first="e"
    )
    assert seen.place.is_same(Place("10.0.0.1", "ap", "w", "n"))
    again = as_record(seen, "presence:p/s", MAC, 9.0)
    assert as_seen(again) == seen
    assert old.value.items() <= again.value.items()
    assert len(again.value) <= 8  # what other nodes accept


def test_one_node_decides_for_all_devices_of_a_pipeline() -> None:
    kind = PresenceKind()
    keys = {kind.decider_key(event(data={"mac": m})) for m in (MAC, OTHER, "")}
    assert keys == {"presence p"}
    assert all(kind.remembers(key) for key in (MAC, "learning", "place a|b|c", "ap a|b"))
    assert not kind.remembers("anything else")
