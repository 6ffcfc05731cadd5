"""Presence: one record for each device in the whole mesh, and the joins that are arrivals.

An arrival is a join after `away` seconds without a sign of life on any access point. While a device is associated (joined and
not left) it counts as alive, for at most HELD: a roam or a phone that wakes up is no arrival. The record sits with the
decider of the device's key and two witnesses (`deciders.py`); an event that was an arrival stays
an arrival when it is repeated.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from agent.clock import boottime
from agent.delivery import Deciders, Decision, Emit, KeyedLocks, Made, Row, Work
from agent.errors import StepFailed
from agent.model.event import Event
from agent.model.mac import is_mac
from agent.model.pipeline import Pipeline, PresenceTask, Step
from agent.model.task import StepOutput

HELD = 12 * 3600.0
"""Longest time that an association without any log line counts as a sign of life; its `left` line may be lost."""
REMEMBER = 30 * 86400.0
"""Seconds that a device is remembered after its last sign of life."""
WIDTH = 16
"""Events that are handled at the same time."""


class DeviceInfo(msgspec.Struct, omit_defaults=True):
    """An operator's name and settings of a device (signed document of kind `device`, named by the MAC)."""

    name: str = ""
    known: bool = False


class Presence:
    """The presence step on the node that decides for a device."""

    def __init__(self, deciders: Deciders) -> None:
        self.deciders = deciders
        self.devices: dict[str, DeviceInfo] = {}
        """By MAC; the service keeps it in step with the documents."""
        self._locks = KeyedLocks()

    async def see(self, scope: str, task: PresenceTask, event: Event) -> list[tuple[str, dict[str, Any]]]:
        """The events (type, data) that follow from this one; raises StepFailed (final) for an event without a MAC."""
        mac = str(event.data.get("mac", "")).lower()
        if not is_mac(mac):
            raise StepFailed(
                "presence needs data.mac", final=True, hint="let the filter emit the device's MAC as data.mac"
            )
        async with self._locks.hold(mac):
            return await self._see(f"presence:{scope}", mac, task, event)

    async def _see(self, scope: str, mac: str, task: PresenceTask, event: Event) -> list[tuple[str, dict[str, Any]]]:
        if event.type == "wifi.client.rejected":
            return []  # a try to connect is not a sign of life: else a wrong password would hide the next arrival
        known = await self._known(scope, mac)
        if known is not None and known.first == event.id:
            return [("device.arrived", self._data(mac, known, event))]
        now = boottime()
        settling = float(event.data.get("restarted_s", 1e9)) < task.settle
        silent = known is None or now - known.at > (HELD if known.present else task.away)
        arrival = event.type == "wifi.client.joined" and silent and not settling
        present = event.type in ("wifi.client.joined", "wifi.client.roamed")
        where = {"node": event.source.split("/")[1], "interface": str(event.data.get("interface", ""))[:64]}
        if event.type == "wifi.client.left" and known is not None and known.present:
            there = {k: str(known.value.get(k, "")) for k in where}
            if there != where:
                # It roamed: the old access point reports it late, often after minutes of silence.
                present, where = True, there
        value = {
            "first_seen": known.value.get("first_seen", event.time) if known else event.time,
            "last_seen": event.time,
            **where,
        }
        first = event.id if arrival else (known.first if known else "")
        record = Decision(scope, mac, first, now, now + max(REMEMBER, task.away), present, value)
        await asyncio.gather(self.deciders.keep(record), self.deciders.witnessed(record))
        return [("device.arrived", self._data(mac, record, event))] if arrival else []

    async def _known(self, scope: str, mac: str) -> Decision | None:
        """The device's record, here or with the next in the ranking: this node may have been away."""
        here = self.deciders.records.get((scope, mac))
        probe = here or Decision(scope, mac, "", 0.0, 0.0)
        found = await self.deciders.witnessed(
            Decision(scope, mac, probe.first, probe.at, 0.0, probe.present, probe.value)
        )
        if found.until <= boottime():
            return here
        return found if here is None or found.at > here.at else here

    def _data(self, mac: str, record: Decision, event: Event) -> dict[str, Any]:
        info = self.devices.get(mac, DeviceInfo())
        device: dict[str, Any] = {
            "mac": mac,
            "known": info.known,
            "private": bool(int(mac[:2], 16) & 2),
            "first_seen": record.value.get("first_seen", event.time),
        }
        if info.name:
            device["name"] = info.name
        return {"device": device, "interface": event.data.get("interface", ""), "joined": event.time}

    def forget(self, mac: str) -> bool:
        """Drop this node's records of a device; True if there were any."""
        gone = [k for k in self.deciders.records if k[0].startswith("presence:") and k[1] == mac]
        for k in gone:
            del self.deciders.records[k]
        self.deciders.journal.storage.write(
            lambda db: db.executemany("DELETE FROM decision WHERE scope = ? AND key = ?", gone)
        )
        return bool(gone)

    def seen(self) -> dict[str, Decision]:
        """The newest record of each device that this node holds."""
        newest: dict[str, Decision] = {}
        for (scope, mac), record in self.deciders.records.items():
            if scope.startswith("presence:") and (mac not in newest or newest[mac].until < record.until):
                newest[mac] = record
        return newest


class PresenceSteps:
    """Makes the work of presence steps."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence

    async def open(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work."""
        task: PresenceTask = step.task_of()
        scope = f"{pipeline.name}/{step.name}"

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            found = await self.presence.see(scope, task, row.event)
            return [(StepOutput(kind, data), ()) for kind, data in found]

        return work, WIDTH
