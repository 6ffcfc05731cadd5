"""Presence: one record for each device in the whole mesh, and the joins that are arrivals.

An arrival is a join after `away` seconds without a sign of life on any access point. While a device is associated (joined and
not left) it counts as alive, for at most HELD: a roam or a phone that wakes up is no arrival. The record sits with the
decider of the device's key and two witnesses (`deciders.py`); an event that was an arrival stays
an arrival when it is repeated.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from agent.clock import boottime
from agent.delivery import Decision, Emit, Made, Row, Work
from agent.errors import StepFailed
from agent.model.event import Event
from agent.model.keys import duration, key
from agent.model.mac import is_mac
from agent.model.pipeline import Pipeline, Step
from agent.model.task import StepOutput, Task
from agent.steps.device_records import SCOPE, DeviceInfo, DeviceRecords
from agent.steps.kind import EventKind
from agent.steps.parts import Parts

HELD = 12 * 3600.0
"""Longest time that an association without any log line counts as a sign of life; its `left` line may be lost."""
REMEMBER = 30 * 86400.0
"""Seconds that a device is remembered after its last sign of life."""
WIDTH = 16
"""Events that are handled at the same time."""


class PresenceTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """One record per device: a join after `away` seconds without a sign of life is an arrival.

    Joins within `settle` seconds of an access point's or its agent's restart only refresh the record.
    """

    away: Annotated[float, duration("silence after which a join is an arrival", "30m")] = 1800.0
    settle: Annotated[float, duration("time after a restart in which joins only refresh", "3m")] = 180.0


class Presence:
    """The presence step on the node that decides for a device."""

    def __init__(self, devices: DeviceRecords) -> None:
        self._devices = devices
        self._deciders = devices.deciders

    async def see(self, scope: str, task: PresenceTask, event: Event) -> list[tuple[str, dict[str, Any]]]:
        """The events (type, data) that follow from this one; raises StepFailed (final) for an event without a MAC."""
        mac = str(event.data.get("mac", "")).lower()
        if not is_mac(mac):
            raise StepFailed(
                "presence needs data.mac", final=True, hint="let the filter emit the device's MAC as data.mac"
            )
        async with self._devices.locks.hold(mac):
            return await self._see(SCOPE + scope, mac, task, event)

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
        await asyncio.gather(self._deciders.keep(record), self._deciders.witnessed(record))
        return [("device.arrived", self._data(mac, record, event))] if arrival else []

    async def _known(self, scope: str, mac: str) -> Decision | None:
        """The device's record, here or with the next in the ranking: this node may have been away."""
        here = self._deciders.records.get((scope, mac))
        probe = here or Decision(scope, mac, "", 0.0, 0.0)
        found = await self._deciders.witnessed(
            Decision(scope, mac, probe.first, probe.at, 0.0, probe.present, probe.value)
        )
        if found.until <= boottime():
            return here
        return found if here is None or found.at > here.at else here

    def _data(self, mac: str, record: Decision, event: Event) -> dict[str, Any]:
        info = self._devices.devices.get(mac, DeviceInfo())
        device: dict[str, Any] = {
            "mac": mac,
            "known": info.known,
            "private": bool(int(mac[:2], 16) & 2),
            "first_seen": record.value.get("first_seen", event.time),
        }
        if info.name:
            device["name"] = info.name
        return {"device": device, "interface": event.data.get("interface", ""), "joined": event.time}


class PresenceKind(EventKind):
    """Turns joins into arrivals."""

    name = "presence"
    task = PresenceTask
    about = key("turn joins into arrivals", {"away": "30m"})

    def remembers(self, key: str) -> bool:
        """See StepKind: a record for each device."""
        return is_mac(key)

    def decider_key(self, event: Event) -> str:
        """The device that the event is about: its MAC in lower case, else the event's subject."""
        return str(event.data.get("mac") or event.subject).lower()

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        task, scope = step.task_as(PresenceTask), f"{pipeline.name}/{step.name}"
        presence = Presence(parts.devices)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            found = await presence.see(scope, task, row.event)
            return [(StepOutput(kind, data), ()) for kind, data in found]

        return work, WIDTH


KINDS = (PresenceKind(),)
