"""Presence: one record for each device in the whole mesh, and the signs of life that are arrivals.

`presence_rules.py` has the rules, `access_points.py` what access points show besides single devices, `learning.py` the time in
which unknown devices are only met. One node decides for all presence steps of a pipeline, so that it sees all devices of an access
point; each record is with two witnesses besides (`agent/delivery/deciders.py`), so another node can go on at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from agent.clock import boottime
from agent.delivery import Decision, Emit, Made, Row, Work
from agent.errors import StepFailed
from agent.model.event import Event
from agent.model.keys import duration, key
from agent.model.mac import is_mac
from agent.model.pipeline import Pipeline, Step
from agent.model.task import StepOutput, Task
from agent.steps.access_points import AccessPoints
from agent.steps.device_records import SCOPE, DeviceRecords, as_record, as_seen
from agent.steps.kind import EventKind
from agent.steps.learning import KEY, LEARN, decider_key
from agent.steps.parts import Parts
from agent.steps.presence_rules import Around, Kind, Place, Seen, Sign, Verdict, judge

REMEMBER = 30 * 86400.0
"""Seconds that a device is remembered after its last sign of life."""
PLACES = 2 * 86400.0
"""The same for what access points showed."""
WIDTH = 16
"""Events that are handled at the same time."""
DOUBT = 10.0
"""Seconds that a doubtful arrival waits for others: a restarted access point brings many devices at once."""
LOOK = 0.5
KINDS_OF_SIGN: dict[str, Kind] = {
    "wifi.client.joined": "joined",
    "wifi.client.left": "left",
    "wifi.client.roamed": "roamed",
    "wifi.client.active": "active",
}
"""Signs of life. A rejection is none: else a wrong password would hide the next arrival."""
RESTARTED = "wifi.access_point.restarted"
MET = "device.met"
ARRIVED = "device.arrived"


class PresenceTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """One record per device: a join after `away` seconds without a sign of life is an arrival.

    Within the first `learn` seconds arrivals of unknown devices are `device.met`, which no step takes.
    """

    away: Annotated[float, duration("silence after which a join is an arrival", "30m")] = 1800.0
    learn: Annotated[float, duration("running time in which unknown devices are only met", "24h")] = LEARN
    settle: Annotated[float, duration("no longer used: nothing has to settle after a restart", "3m")] = 180.0


class Presence:
    """One presence step on the node that decides for it."""

    def __init__(
        self, devices: DeviceRecords, scope: str, task: PresenceTask, *, passes_met: bool = False,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        """`scope` is PIPELINE/STEP; `passes_met`: the steps that follow take `device.met` too."""
        self._devices, self._scope, self._task = devices, SCOPE + scope, task
        self._passes_met, self._pause = passes_met, pause
        self._points = AccessPoints()
        self._loaded: set[str] = set()

    async def see(self, event: Event, at: float | None = None) -> list[StepOutput]:
        """The events that follow from a sign of life at `at` (default: now); raises StepFailed (final) without a MAC."""
        now = boottime()
        at = now if at is None else min(at, now)
        place = place_of(event)
        if event.type == RESTARTED:
            await self._load(place)
            await self._keep(self._points.restart(place, at))
            return []
        mac = str(event.data.get("mac", "")).lower()
        if not is_mac(mac):
            raise StepFailed(
                "presence needs data.mac", final=True, hint="let the filter emit the device's MAC as data.mac"
            )
        kind = KINDS_OF_SIGN.get(event.type)
        if kind is None:
            return []
        device = self._devices.device_of(mac)
        async with self._devices.locks.hold(device):
            return await self._see(device, Sign(kind, at, place, event.id, event.time), event)

    async def _see(self, device: str, sign: Sign, event: Event) -> list[StepOutput]:
        record = await self._devices.device(self._scope, device)
        seen = as_seen(record) if record is not None else None
        for place in {sign.place} | ({seen.place} if seen is not None else set()):
            await self._load(place)
        changed = self._points.notice(device, sign, seen)
        over = await self._devices.learning.over(self._scope, self._task.learn)
        verdict = await self._judged(device, seen, sign)
        if verdict.seen is not seen:
            until = boottime() + max(REMEMBER, self._task.away)
            await self._devices.keep(as_record(verdict.seen, self._scope, device, until))
        await self._keep(changed)
        return [self._arrival(device, verdict.seen, event, learning=not over)] if verdict.arrived else []

    async def _judged(self, device: str, seen: Seen | None, sign: Sign) -> Verdict:
        known = self._devices.info(device).known
        watch = self._points.at(seen.place if seen is not None else sign.place)
        waited = 0.0
        while True:
            # Two that join again are enough where one of them is in doubt.
            restarted = sign.at if waited and self._points.again(sign.place) > 1 else self._points.restarted(sign.place)
            verdict = judge(seen, sign, Around(self._task.away, known, watch, restarted))
            if not verdict.doubtful or waited >= DOUBT:
                return verdict
            await self._pause(LOOK)
            waited += LOOK

    # -- what access points show --------------------------------------------------------------------------------------

    async def _load(self, place: Place) -> None:
        """Take in what other nodes recorded about the place, where this node has not decided about it yet."""
        for name in self._points.keys(place):
            if name in self._loaded:
                continue
            if len(self._loaded) > 10_000:
                self._loaded.clear()
            self._loaded.add(name)
            if (record := await self._devices.find(self._scope, name)) is not None:
                self._points.load(name, record.at, record.value)

    async def _keep(self, changed: list[Any]) -> None:
        until = boottime() + PLACES
        records = [Decision(self._scope, c.key, "", c.at, until, value=c.value) for c in changed]
        await asyncio.gather(*(self._devices.keep(r) for r in records))

    # -- what follows -------------------------------------------------------------------------------------------------

    def _arrival(self, mac: str, seen: Seen, event: Event, *, learning: bool) -> StepOutput:
        info = self._devices.info(mac)
        learning = learning and not info.known
        device: dict[str, Any] = {
            "mac": mac,
            "known": info.known,
            "private": bool(int(mac[:2], 16) & 2),
            "first_seen": seen.first_seen,
        }
        if info.name:
            device["name"] = info.name
        place = seen.place
        data = {
            "device": device, "interface": event.data.get("interface", ""), "joined": event.time, "access_point": place.access_point
        }  # fmt: skip
        if learning:
            return StepOutput(MET, {**data, "learning": True}, passes=self._passes_met)
        return StepOutput(ARRIVED, data)


def place_of(event: Event) -> Place:
    """Where an event of a filter happened. Nodes of version 0.1 do not say which sender it came from."""
    node = [*event.source.split("/"), ""][1]
    texts = [str(event.data.get(k, ""))[:64] for k in ("sender", "access_point", "interface")]
    return Place(texts[0], texts[1] or texts[0], texts[2], node)


class PresenceKind(EventKind):
    """Turns signs of life into arrivals."""

    name = "presence"
    task = PresenceTask
    about = key("turn joins into arrivals", {"away": "30m"})

    def remembers(self, key: str) -> bool:
        """See StepKind: a record for each device, for what access points show, and for the time of learning."""
        return is_mac(key) or key == KEY or key.startswith(("place ", "ap "))

    def decider_key(self, event: Event) -> str:
        """One node decides for all devices: it must see what the others at an access point do."""
        return decider_key(event.pipeline)

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        task, scope = step.task_as(PresenceTask), f"{pipeline.name}/{step.name}"
        presence = Presence(parts.devices, scope, task, passes_met=MET in step.emit)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            return [(output, ()) for output in await presence.see(row.event, row.root_at)]

        return work, WIDTH


KINDS = (PresenceKind(),)
