"""Devices on this node: the presence records that it holds, and what operators said about devices."""

from __future__ import annotations

import msgspec

from agent.delivery import Deciders, Decision, KeyedLocks

SCOPE = "presence:"
"""Records of presence steps have scopes that begin so."""


class DeviceInfo(msgspec.Struct, omit_defaults=True):
    """An operator's name and settings of a device (signed document of kind `device`, named by the MAC)."""

    name: str = ""
    known: bool = False


class DeviceRecords:
    """The devices that this node knows."""

    def __init__(self, deciders: Deciders) -> None:
        self.deciders = deciders
        self.devices: dict[str, DeviceInfo] = {}
        """By MAC; the node keeps it in step with the documents."""
        self.locks = KeyedLocks()
        """Held by MAC while a device's record changes."""

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
            if scope.startswith(SCOPE) and (mac not in newest or newest[mac].until < record.until):
                newest[mac] = record
        return newest
