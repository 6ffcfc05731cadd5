"""Devices on the Wi-Fi: the presence records of all nodes, and the names that operators gave."""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec

from agent.api import results
from agent.api.requests import UpdateDevice
from agent.api.resources.common import known, record_of
from agent.errors import EdgeError, NotFound, Refused
from agent.identity import PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.documents import DEVICE
from agent.steps import DeviceInfo, DeviceRecords

log = logging.getLogger(__name__)

_MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}\Z")


class Seen(msgspec.Struct):
    """A node's answer to `device.list` about one device."""

    present: bool
    first_seen: str
    last_seen: str
    node: str


class Devices:
    """The devices. Its `serve_…` methods answer other nodes."""

    def __init__(self, mesh: Mesh, records: DeviceRecords) -> None:
        self._mesh, self._records = mesh, records

    async def all(self) -> list[results.Device]:
        """The devices that any live node has a record of, or that an operator named; present devices first."""
        seen: dict[str, Seen] = {}
        for rows in await asyncio.gather(*(self._devices_of(n.id) for n in self._mesh.live())):
            for mac, row in rows.items():
                if mac not in seen or seen[mac].last_seen < row.last_seen:
                    seen[mac] = row
        for mac in self._records.devices:
            seen.setdefault(mac, Seen(False, "", "", ""))
        return sorted((self._device(*item) for item in seen.items()), key=lambda d: (not d.present, d.name, d.id))

    async def _devices_of(self, node_id: str) -> dict[str, Seen]:
        try:
            raw = await self._mesh.call(node_id, "device.list", b"", timeout=3.0)
            found = msgspec.msgpack.decode(raw, type=dict[str, Seen])
        except (EdgeError, *DAMAGED) as e:
            log.debug("%s did not tell its devices: %s", node_id, e)
            return {}
        return {mac: row for mac, row in found.items() if _MAC.match(mac)}

    def _device(self, mac: str, row: Seen) -> results.Device:
        info = self._records.devices.get(mac, DeviceInfo())
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
        )

    async def update(self, ident: str, asked: UpdateDevice) -> results.Device:
        """Sign a device's name and whether it is known; None leaves it. `ident` is a MAC or a name; raises NotFound."""
        mac = self._mac(ident)
        old = self._records.devices.get(mac, DeviceInfo())
        name = old.name if asked.name is None else asked.name[:64]
        info = DeviceInfo(name, old.known if asked.known is None else asked.known)
        await self._mesh.documents.put(DEVICE, mac, msgspec.json.encode(info))
        return next(d for d in await self.all() if d.id == mac)

    async def forget(self, ident: str) -> results.Id:
        """Drop a device's name and its records on all nodes; raises NotFound."""
        mac = self._mac(ident)
        if self._mesh.documents.get(DEVICE, mac) is not None:
            await self._mesh.documents.put(DEVICE, mac, b"", removed=True)
        body = msgspec.msgpack.encode(mac)
        for node in self._mesh.live():
            try:
                await self._mesh.call(node.id, "device.forget", body, timeout=3.0)
            except EdgeError as e:
                log.warning("%s did not delete the device: %s", node.name, e.message)
        return results.Id(mac)

    def _mac(self, ident: str) -> str:
        plain = ident.strip().lower()
        if _MAC.match(plain):
            return plain.replace("-", ":")
        devices = self._records.devices
        for mac, info in devices.items():
            if info.name.lower() == plain:
                return mac
        names = known(i.name for i in devices.values() if i.name)
        raise NotFound(f"no device is called {ident}", hint=f"give its MAC; {names}")

    async def serve_list(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `device.list`: this node's presence records."""
        found = {
            mac: Seen(r.present, r.value.get("first_seen", ""), r.value.get("last_seen", ""), r.value.get("node", ""))
            for mac, r in self._records.seen().items()
        }
        return msgspec.msgpack.encode(found)

    async def serve_forget(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `device.forget`; raises Refused for a node that is not an operator."""
        if not peer.is_operator:
            raise Refused(f"{peer.name} is not an operator and cannot delete a device", code="not-operator")
        self._records.forget(msgspec.msgpack.decode(body, type=str))
        return b""
