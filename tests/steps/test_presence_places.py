"""Presence by the signs of whole access points: calls that all devices answer, and restarts."""

from __future__ import annotations

import asyncio

from tests.steps.wifi import HOUR, MAC, MINUTE, OTHER, Building


async def calls(building: Building, hours: float, *macs: str, every: float = 10 * MINUTE) -> None:
    """The access point renews its group key, and these devices confirm it."""
    for _ in range(int(hours * HOUR / every)):
        building.clock.now += every
        for mac in macs:
            assert not await building.after(0.1, "active", mac)


async def test_device_that_misses_calls_that_others_answer_is_gone(building: Building) -> None:
    others = [f"02:00:00:00:01:{i:02x}" for i in range(3)]
    for mac in (MAC, *others):
        assert await building.after(0, "joined", mac)
    await calls(building, 2, MAC, *others)
    await calls(building, 1, *others)  # its leave was lost
    assert await building.after(MINUTE, "joined")
    await calls(building, 0.5, MAC, *others)
    await calls(building, 9, MAC)  # asleep, and the others have left without a line
    assert not await building.after(MINUTE, "joined")


async def test_last_device_in_the_building_answers_calls_too(building: Building) -> None:
    for mac in (MAC, OTHER):
        assert await building.after(0, "joined", mac)
    await calls(building, 2, MAC, OTHER)
    await calls(building, 2, OTHER)
    assert await building.after(MINUTE, "joined")


async def test_device_that_answers_a_call_has_not_missed_it(building: Building) -> None:
    others = [f"02:00:00:00:01:{i:02x}" for i in range(9)]
    for mac in (*others, MAC):
        assert await building.after(0, "joined", mac)
    await calls(building, 5, *others, MAC, every=HOUR)
    for mac, pause in zip(others, (10 * MINUTE, 1), strict=False):  # two renew their addresses at once, by chance
        assert not await building.after(pause, "active", mac)
    await calls(building, 3, *others, MAC, every=HOUR)


async def test_renewals_one_by_one_do_not_make_a_sleeper_gone(building: Building) -> None:
    others = [f"02:00:00:00:01:{i:02x}" for i in range(4)]
    for mac in (MAC, *others):
        assert await building.after(0, "joined", mac)
    for _ in range(9):
        for mac in others:
            assert not await building.after(HOUR / 4, "active", mac)
    assert not await building.after(MINUTE, "joined")


async def test_regular_signs_that_stop_for_hours_mean_it_left(building: Building) -> None:
    for mac in (MAC, OTHER):
        assert await building.after(0, "joined", mac)
    for i in range(12):
        assert not await building.after((7 + i % 3) * MINUTE, "active", MAC)
        assert not await building.after((3 + i % 4) * MINUTE, "active", OTHER)
    for i in range(24):
        assert not await building.after((9 + i % 4) * MINUTE, "active", OTHER)
    assert await building.after(0, "joined")


async def test_restart_told_by_the_access_point_refreshes_the_present(building: Building) -> None:
    assert await building.after(0, "joined")
    assert not await building.after(3 * 24 * HOUR, "wifi.access_point.restarted", mac=None)
    assert not await building.after(MINUTE, "joined")
    assert await building.after(1, "joined", OTHER)  # pulling a plug hides nobody
    assert not await building.after(HOUR, "left")
    assert not await building.after(2 * HOUR, "wifi.access_point.restarted", mac=None)
    assert await building.after(MINUTE, "joined")  # it had left


async def test_leaves_at_a_shutdown_are_no_departures(building: Building) -> None:
    building.council.task_for(away=60.0)
    assert await building.after(0, "joined")
    assert not await building.after(HOUR, "left")
    assert not await building.after(2 * MINUTE, "wifi.access_point.restarted", mac=None)
    assert not await building.after(2 * MINUTE, "joined")
    assert not await building.after(HOUR, "left")
    assert await building.after(2 * MINUTE, "joined")


async def test_restart_shown_by_many_devices_at_once_refreshes_them(building: Building) -> None:
    macs = [f"02:00:00:00:01:{i:02x}" for i in range(30)]
    for mac in macs:
        assert await building.after(1, "joined", mac)
    for mac in macs:
        assert not await building.after(1, "left", mac)
        assert not await building.after(1, "joined", mac)
    building.clock.now += 3 * 24 * HOUR
    made = []
    for mac in macs:
        await building.clock.pass_to(building.clock.now + 2)
        made.append(await building.begins("joined", mac, wait=False))  # the first waits for others
    assert not any(await asyncio.gather(*made))
    assert await building.after(1, "joined", OTHER)


async def test_sleepers_silent_since_a_restart_are_present(building: Building) -> None:
    others = [f"02:00:00:00:01:{i:02x}" for i in range(3)]
    for mac in (MAC, *others):
        assert await building.after(0, "joined", mac)
    await calls(building, 2, MAC, *others)
    assert not await building.after(MINUTE, "wifi.access_point.restarted", mac=None)
    await calls(building, 3, *others)
    assert not await building.after(MINUTE, "joined")


async def test_calls_before_the_decider_was_lost_still_count(building: Building) -> None:
    others = [f"02:00:00:00:01:{i:02x}" for i in range(3)]
    for mac in (MAC, *others):
        assert await building.after(0, "joined", mac)
    await calls(building, 1, MAC, *others)
    await calls(building, 1, *others)
    building.council.stop(building.decider, disk=False)
    assert await building.after(MINUTE, "joined")
