"""Devices on the Wi-Fi: the presence records of all nodes, and the names that operators gave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from agent.api import results
from agent.api.requests import Merge, StopLearning, UpdateDevice
from agent.api.resources.common import known, record_of
from agent.definitions import Definitions
from agent.errors import EdgeError, NotFound, Refused
from agent.identity import PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.documents import DEVICE, LEARNING
from agent.model.mac import is_mac, mac_of
from agent.steps import MAX_ADDRESSES, DeviceInfo, DeviceRecords, learn_of

log = logging.getLogger(__name__)

NAME = 64
"""Most characters of a device's name."""


class Seen(msgspec.Struct):
    """A node's answer to `device.list` about one address."""

    present: bool
    first_seen: str
    last_seen: str
    node: str
    access_point: str = ""
    interface: str = ""


class Devices:
    """The devices. Its `serve_…` methods answer other nodes."""

    def __init__(self, mesh: Mesh, records: DeviceRecords, definitions: Definitions) -> None:
        self._mesh, self._records, self._definitions = mesh, records, definitions

    async def all(self) -> list[results.Device]:
        """The devices that any live node has a record of, or that an operator named; present devices first."""
        seen = await self._seen()
        for mac in self._records.devices:
            seen.setdefault(self._records.device_of(mac), Seen(False, "", "", ""))
        return sorted((self._device(*item) for item in seen.items()), key=lambda d: (not d.present, d.name, d.id))

    async def _seen(self) -> dict[str, Seen]:
        """The newest record of each device, of all its addresses."""
        seen: dict[str, Seen] = {}
        for rows in await asyncio.gather(*(self._devices_of(n.id) for n in self._mesh.live())):
            for mac, row in rows.items():
                device = self._records.device_of(mac)
                other = seen.get(device)
                if other is not None:
                    row.first_seen = min(filter(None, (row.first_seen, other.first_seen)), default="")
                    other.first_seen = row.first_seen
                if other is None or other.last_seen < row.last_seen:
                    seen[device] = row
        return seen

    async def _devices_of(self, node_id: str) -> dict[str, Seen]:
        try:
            raw = await self._mesh.call(node_id, "device.list", b"", timeout=3.0)
            found = msgspec.msgpack.decode(raw, type=dict[str, Seen])
        except (EdgeError, *DAMAGED) as e:
            log.debug("%s did not tell its devices: %s", node_id, e)
            return {}
        return {mac: row for mac, row in found.items() if is_mac(mac)}

    def _device(self, mac: str, row: Seen) -> results.Device:
        info = self._records.info(mac)
        record = record_of(self._mesh, row.node)
        return results.Device(
            id=mac,
            known=info.known,
            private=bool(int(mac[:2], 16) & 2),
            present=row.present,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            name=info.name,
            node=record.name if record is not None else "",
            access_point=row.access_point,
            interface=row.interface,
            addresses=self._records.addresses(mac)[1:],
        )

    async def update(self, ident: str, asked: UpdateDevice) -> results.Device:
        """Sign a device's name and whether it is known; None leaves it.

        `ident` is a MAC or a name. Raises NotFound, and Refused for a name of two devices, of another device, or that is a MAC.
        """
        mac = self._mac(ident)
        old = self._records.info(mac)
        name = old.name if asked.name is None else self._usable(asked.name, mac)
        known = old.known if asked.known is None else asked.known
        await self._put(mac, DeviceInfo(name, known))
        return await self._shown(mac)

    def _usable(self, name: str, mac: str) -> str:
        plain = " ".join(name.split())[:NAME]
        if mac_of(plain):
            raise Refused(f"{plain} looks like a MAC", code="device.name", hint="give it a name that is no address")
        others = [m for m in self._named(plain) if m != mac]
        if plain and others:
            raise Refused(
                f"{plain} is the name of {others[0]} already", code="device.name",
                hint=f"give another name; if both are one device: edge-agent device merge {others[0]} {mac}",
            )  # fmt: skip
        return plain

    async def merge(self, ident: str, asked: Merge) -> results.Device:
        """Make the other address one of the device's: one record, one name, known if either was; or undo that.

        Raises NotFound and Refused.
        """
        mac, other = self._mac(ident), self._address(asked.other)
        if asked.undo:
            if other == mac or self._records.device_of(other) != mac:
                raise Refused(
                    f"{other} is no further address of {mac}", hint="edge-agent device list", code="device.merge"
                )
            await self._put(other, None)
            return await self._shown(mac)
        other = self._records.device_of(other)
        if other == mac:
            raise Refused(f"{asked.other} and {ident} are one device already", hint="", code="device.merge")
        moved = self._records.addresses(other)
        if len(moved) + len(self._records.addresses(mac)) > MAX_ADDRESSES:
            raise Refused(
                f"a device has at most {MAX_ADDRESSES} addresses", hint="undo a merge first", code="device.merge"
            )
        mine, theirs = self._records.info(mac), self._records.info(other)
        for address in moved:
            await self._put(address, DeviceInfo(same_as=mac))
        await self._put(mac, DeviceInfo(mine.name or theirs.name, mine.known or theirs.known))
        return await self._shown(mac)

    async def forget(self, ident: str) -> results.Id:
        """Drop a device's name, its addresses and its records on all nodes; raises NotFound where there is none of them."""
        mac = self._mac(ident)
        addresses = self._records.addresses(mac)
        named = [a for a in addresses if self._mesh.documents.get(DEVICE, a) is not None]
        if not named and mac not in await self._seen():
            raise NotFound(
                f"nothing is known of {ident}", hint="edge-agent device list shows the devices that were heard"
            )
        for address in named:
            await self._put(address, None)
        for address in addresses:
            body = msgspec.msgpack.encode(address)
            for node in self._mesh.live():
                try:
                    await self._mesh.call(node.id, "device.forget", body, timeout=3.0)
                except EdgeError as e:
                    log.warning("%s did not delete the device: %s", node.name, e.message)
        return results.Id(mac)

    async def _put(self, mac: str, info: DeviceInfo | None) -> None:
        body = msgspec.json.encode(info) if info is not None else b""
        await self._mesh.documents.put(DEVICE, mac, body, removed=info is None)

    async def _shown(self, mac: str) -> results.Device:
        return next(d for d in await self.all() if d.id == mac)

    def _mac(self, ident: str) -> str:
        """The MAC that stands for the device; raises NotFound, and Refused for a name of several devices."""
        return self._records.device_of(self._address(ident))

    def _address(self, ident: str) -> str:
        if mac := mac_of(ident):
            return mac
        match self._named(ident):
            case [mac]:
                return mac
            case []:
                named = [i.name for i in self._records.devices.values() if i.name]
                names = known(named) if named else "edge-agent device list shows them"
                raise NotFound(f"no device is called {ident}", hint=f"give its MAC; {names}")
            case several:
                raise Refused(
                    f"{len(several)} devices are called {ident}: {', '.join(several)}", code="device.ambiguous",
                    hint="give the MAC, or merge them: edge-agent device merge MAC MAC",
                )  # fmt: skip

    def _named(self, name: str) -> list[str]:
        plain = " ".join(name.split()).casefold()
        devices = self._records.devices
        return sorted(
            {self._records.device_of(m) for m, i in devices.items() if i.name.casefold() == plain and not i.same_as}
        )

    # -- learning -----------------------------------------------------------------------------------------------------

    async def learning(self) -> list[results.Learning]:
        """The presence steps of all pipelines and how long they still learn."""
        learning = self._records.learning
        return [
            results.Learning(
                p.name, s.name, learn_of(s), round(left, 1), p.name in learning.stopped, learning.met(p, s)
            )
            for p in self._definitions.current.values()
            for s, left in learning.steps_of(p)
        ]

    async def stop_learning(self, asked: StopLearning) -> list[results.Learning]:
        """Sign the end of learning of a pipeline, or of all; raises NotFound where there is none with a presence step."""
        rows = await self.learning()
        names = {r.pipeline for r in rows}
        if not names or (asked.pipeline and asked.pipeline not in names):
            what = (
                f"pipeline {asked.pipeline} with a presence step" if asked.pipeline else "pipeline with a presence step"
            )
            raise NotFound(f"there is no {what}", hint=f"{known(names)}; apply one: edge-agent pipeline apply FILE")
        for name in {asked.pipeline} if asked.pipeline else names:
            if name not in self._records.learning.stopped:
                await self._mesh.documents.put(LEARNING, name, b'{"stopped":true}')
        return await self.learning()

    # -- verbs ----------------------------------------------------------------------------------------------------------

    async def serve_list(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `device.list`: this node's presence records."""

        def row(present: bool, told: Callable[[str, str], str]) -> Seen:
            return Seen(present, *(told(k, "") for k in Seen.__struct_fields__[1:]))

        found = {mac: row(r.present, r.value.get) for mac, r in self._records.seen().items()}
        return msgspec.msgpack.encode(found)

    async def serve_forget(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `device.forget`; raises Refused for a node that is not an operator."""
        if not peer.is_operator:
            raise Refused(f"{peer.name} is not an operator and cannot delete a device", code="not-operator")
        self._records.forget(msgspec.msgpack.decode(body, type=str))
        return b""
