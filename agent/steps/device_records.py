"""Devices on this node: the presence records that it holds, and what operators said about devices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from agent.clock import boottime
from agent.delivery import Deciders, Decision, KeyedLocks
from agent.model.mac import is_mac
from agent.steps.learning import Learning
from agent.steps.presence_rules import Place, Seen

SCOPE = "presence:"
"""Records of presence steps have scopes that begin so."""
MAX_ADDRESSES = 16
"""Most addresses of one device."""
_TEXT = 64
"""Most characters of each name in a record."""


class DeviceInfo(msgspec.Struct, omit_defaults=True):
    """An operator's name and settings of a device (signed document of kind `device`, named by the MAC).

    `same_as` is the MAC of the device to which this address belongs; the other fields then count there.
    """

    name: str = ""
    known: bool = False
    same_as: str = ""


class DeviceRecords:
    """The devices that this node knows."""

    def __init__(self, deciders: Deciders) -> None:
        self.deciders = deciders
        self.devices: dict[str, DeviceInfo] = {}
        """By MAC; the node keeps it in step with the documents."""
        self.locks = KeyedLocks()
        """Held by MAC while a device's record changes."""
        self.learning = Learning(deciders)

    def device_of(self, mac: str) -> str:
        """The MAC that stands for the device with this address."""
        passed = [mac]
        while (info := self.devices.get(passed[-1])) is not None and is_mac(info.same_as):
            if info.same_as in passed:
                return min(
                    passed[passed.index(info.same_as) :]
                )  # two operators merged them at once, each the other way
            passed.append(info.same_as)
        return passed[-1]

    def addresses(self, mac: str) -> list[str]:
        """The addresses of the device of this MAC, that MAC first."""
        others = [m for m, info in self.devices.items() if info.same_as and m != mac and self.device_of(m) == mac]
        return [mac, *sorted(others)][:MAX_ADDRESSES]

    def info(self, mac: str) -> DeviceInfo:
        """The name and settings that operators gave to the device of this MAC."""
        return self.devices.get(mac, DeviceInfo())

    async def find(self, scope: str, key: str) -> Decision | None:
        """A valid record, the newest of this node's and those of the next nodes in the ranking: this node may have been away."""
        here = self.deciders.records.get((scope, key))
        probe = here or Decision(scope, key, "", 0.0, 0.0)
        found = await self.deciders.witnessed(probe._replace(until=0.0))
        if found.until > boottime() and (here is None or found.at > here.at):
            return found
        return here if here is not None and here.until > boottime() else None

    async def device(self, scope: str, mac: str) -> Decision | None:
        """The newest record of any address of the device."""
        found = await asyncio.gather(*(self.find(scope, m) for m in self.addresses(mac)))
        return max((f for f in found if f is not None), key=lambda f: f.at, default=None)

    async def keep(self, record: Decision) -> None:
        """Keep a record on this node's disk and with its witnesses."""
        await asyncio.gather(self.deciders.keep(record), self.deciders.witnessed(record))

    def forget(self, mac: str) -> bool:
        """Drop this node's records of a device; True if there were any."""
        gone = [k for k in self.deciders.records if k[0].startswith(SCOPE) and k[1] == mac]
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
            if scope.startswith(SCOPE) and is_mac(mac) and (mac not in newest or newest[mac].at < record.at):
                newest[mac] = record
        return newest


def as_record(seen: Seen, scope: str, mac: str, until: float) -> Decision:
    """A device as a record; nodes of version 0.1 read its node, interface and times."""
    place = seen.place
    value = {
        "first_seen": seen.first_seen, "last_seen": seen.last_seen, "node": place.node[:_TEXT],
        "interface": place.interface[:_TEXT], "sender": place.sender[:_TEXT], "access_point": place.access_point[:_TEXT],
        "signs": f"{seen.signs} {seen.pause:.0f} {seen.slept:.0f} {seen.left:d}", "heard": "" if seen.announced else "left",
    }  # fmt: skip
    return Decision(scope, mac, seen.first, seen.at, until, seen.present, value)


def as_seen(record: Decision) -> Seen:
    """The device of a record, of version 0.1 too."""
    value: Mapping[str, str] = record.value
    signs, pause, slept, left = _numbers(value.get("signs", ""))
    place = Place(
        value.get("sender", ""), value.get("access_point", ""), value.get("interface", ""), value.get("node", "")
    )
    return Seen(
        at=record.at, present=record.present, place=place, first=record.first, first_seen=value.get("first_seen", ""),
        last_seen=value.get("last_seen", ""), announced=value.get("heard", "") != "left", signs=int(signs), pause=pause,
        slept=slept, left=bool(left),
    )  # fmt: skip


def _numbers(text: str) -> tuple[float, float, float, float]:
    words = text.split()
    if len(words) != 4 or not all(w.isascii() and w.isdigit() and len(w) < 12 for w in words):
        return 0.0, 0.0, 0.0, 0.0
    return float(words[0]), float(words[1]), float(words[2]), float(words[3])
