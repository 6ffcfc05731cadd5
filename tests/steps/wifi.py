"""A building whose access points tell the mesh about devices, for tests of presence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.model.event import event_id
from agent.model.task import StepOutput
from agent.steps import DeviceInfo
from agent.steps.presence import DOUBT, PresenceTask
from tests.delivery.deciding import Clock, Council
from tests.delivery.events import event

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
MINUTE, HOUR = 60.0, 3600.0
AWAY = PresenceTask().away


class Building:
    """Access points that tell the mesh what devices do; the decider answers, as routed deliveries would."""

    def __init__(self, council: Council, clock: Clock) -> None:
        self.council, self.clock, self.count = council, clock, 0

    async def sees(self, kind: str, mac: str = MAC, **fields: Any) -> list[StepOutput]:
        """The events that follow from a line."""
        return await (await self.begins(kind, mac, **fields))

    async def begins(
        self,
        kind: str,
        mac: str = MAC,
        *,
        ap: str = "ap1",
        ident: str = "",
        ago: float = 0.0,
        wait: bool = True,
        **data: Any,
    ) -> asyncio.Task[list[StepOutput]]:
        """The run for a line of `ago` seconds ago; without `wait` other lines may come before."""
        self.count += 1
        kind = kind if "." in kind else f"wifi.client.{kind}"
        given: dict[str, Any] = {"mac": mac, "interface": "wlan0", "sender": ap, "access_point": ap, **data}
        made = event(
            ident or event_id("seen", self.count), kind, node=ap, time=ident or f"t{self.clock.now:.0f}",
            data={k: v for k, v in given.items() if v is not None},
        )  # fmt: skip
        task = asyncio.create_task(self.council.see(made, self.clock.now - ago))
        await self.clock.settled(task)
        if wait and not task.done():
            await self.clock.pass_to(self.clock.now + DOUBT)
        return task

    async def after(self, seconds: float, kind: str, mac: str = MAC, **fields: Any) -> bool:
        """Whether it is an arrival."""
        self.clock.now += seconds
        return [o.type for o in await self.sees(kind, mac, **fields)] == ["device.arrived"]

    @property
    def decider(self) -> str:
        """The node that decides."""
        return self.council.decider()

    def call(self, *, knows: DeviceInfo, mac: str = MAC) -> None:
        """An operator's decision about a device reaches every node."""
        for records in self.council.devices.values():
            records.devices[mac] = knows


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def building(tmp_path: Path, clock: Clock) -> AsyncIterator[Building]:
    council = Council(tmp_path, clock)
    council.start("ap1", "ap2", "ap3", "hall", "gpu")
    yield Building(council, clock)
    council.close()
