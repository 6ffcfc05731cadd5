"""What the API asks about devices, cameras, blobs, the sink and the egress ledger."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from agent.blobs import parse_cid
from agent.cameras import masked
from agent.errors import EdgeError, NotFound, Refused
from agent.identity import PeerIdentity
from agent.model.decoding import DAMAGED
from agent.node.applied_documents import DEVICE
from agent.node.facade_status import known, uplink
from agent.steps import DeviceInfo

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]
_MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}\Z")


class Seen(msgspec.Struct):
    """What a node answers to `device.list` about one device."""

    present: bool
    first_seen: str
    last_seen: str
    node: str


class DeviceRow(msgspec.Struct):
    """What `device.list` tells of a device."""

    present: bool
    first_seen: str
    last_seen: str
    node: str


class ThingsMixin:
    """See `agent.api.facade.ThingsFacade` for what each dict holds."""

    # -- devices ------------------------------------------------------------------------------------------------------

    async def device_list(self) -> list[Json]:
        """Devices that any live node has a record of, or that an operator named."""
        a = cast("Agent", self)
        seen: dict[str, Seen] = {}
        for rows in await asyncio.gather(*(self._devices_of(n.id) for n in a.mesh.live())):
            for mac, row in rows.items():
                if mac not in seen or seen[mac].last_seen < row.last_seen:
                    seen[mac] = row
        for mac in a.presence.devices:
            seen.setdefault(mac, Seen(False, "", "", ""))
        made = [self._device(mac, row) for mac, row in seen.items()]
        return sorted(made, key=lambda d: (not d["present"], d.get("name", ""), d["id"]))

    async def _devices_of(self, node_id: str) -> dict[str, Seen]:
        a = cast("Agent", self)
        try:
            raw = await a.mesh.call(node_id, "device.list", b"", timeout=3.0)
            found = msgspec.msgpack.decode(raw, type=dict[str, Seen])
        except (EdgeError, *DAMAGED) as e:
            log.debug("%s did not tell its devices: %s", node_id, e)
            return {}
        return {mac: row for mac, row in found.items() if _MAC.match(mac)}

    def _device(self, mac: str, row: Seen) -> Json:
        a = cast("Agent", self)
        info = a.presence.devices.get(mac, DeviceInfo())
        record = a.record(row.node)
        made: Json = {
            "id": mac,
            "known": info.known,
            "private": bool(int(mac[:2], 16) & 2),
            "present": row.present,
            "first_seen": row.first_seen,
            "last_seen": row.last_seen,
        }
        if info.name:
            made["name"] = info.name
        if record is not None:
            made["node"] = record.name
        return made

    async def device_update(self, ident: str, *, name: str | None, known: bool | None) -> Json:
        """Sign what is known of a device."""
        a = cast("Agent", self)
        mac = self._mac(ident)
        old = a.presence.devices.get(mac, DeviceInfo())
        info = DeviceInfo(old.name if name is None else name[:64], old.known if known is None else known)
        await a.mesh.documents.put(DEVICE, mac, msgspec.json.encode(info))
        rows = {d["id"]: d for d in await self.device_list()}
        return rows[mac]

    async def device_forget(self, ident: str) -> Json:
        """Drop a device's name and records everywhere."""
        a = cast("Agent", self)
        mac = self._mac(ident)
        if a.mesh.documents.get(DEVICE, mac) is not None:
            await a.mesh.documents.put(DEVICE, mac, b"", removed=True)
        body = msgspec.msgpack.encode(mac)
        for node in a.mesh.live():
            try:
                await a.mesh.call(node.id, "device.forget", body, timeout=3.0)
            except EdgeError as e:
                log.warning("%s has not forgotten the device: %s", node.name, e.message)
        return {"id": mac}

    def _mac(self, ident: str) -> str:
        a = cast("Agent", self)
        plain = ident.strip().lower()
        if _MAC.match(plain):
            return plain.replace("-", ":")
        devices = a.presence.devices
        for mac, info in devices.items():
            if info.name.lower() == plain:
                return mac
        names = known(i.name for i in devices.values() if i.name)
        raise NotFound(f"no device is called {ident}", hint=f"give its MAC; {names}")

    async def serve_devices(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Verb `device.list`: this node's presence records."""
        a = cast("Agent", self)
        found = {
            mac: Seen(r.present, r.value.get("first_seen", ""), r.value.get("last_seen", ""), r.value.get("node", ""))
            for mac, r in a.presence.seen().items()
        }
        return msgspec.msgpack.encode(found)

    async def serve_forget(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Verb `device.forget`, from operators only."""
        if not peer.is_operator:
            raise Refused(f"{peer.name} is no operator and may not have a device forgotten", code="not-operator")
        cast("Agent", self).presence.forget(msgspec.msgpack.decode(body, type=str))
        return b""

    # -- cameras ------------------------------------------------------------------------------------------------------

    async def camera_list(self) -> list[Json]:
        """The book, and devices that are there and not in it."""
        a = cast("Agent", self)
        ok = {c.name: c.ok for c in a.cameras.infos()}
        made = [
            {"node": a.identity.name, "name": name, "kind": c.kind, "source": masked(c.source), "ok": ok.get(name, True),
             "added": True, "text": a.cameras.error(name)}
            for name, c in sorted(a.cameras.list().items())
        ]  # fmt: skip
        for device in await asyncio.to_thread(a.cameras.probe):
            made.append(
                {"node": a.identity.name, "name": "", "kind": "v4l2", "source": device.source, "ok": True, "added": False,
                 "text": device.text}
            )  # fmt: skip
        return made

    async def camera_add(self, name: str, source: str, options: Mapping[str, Any]) -> Json:
        """Write a camera into this node's book."""
        a = cast("Agent", self)
        await a.cameras.add(name, source, **options)
        a.mesh.announce(cameras=a.cameras.infos())
        return next(c for c in await self.camera_list() if c["name"] == name)

    async def camera_remove(self, name: str) -> Json:
        """Take a camera out of the book."""
        a = cast("Agent", self)
        await a.cameras.remove(name)
        a.mesh.announce(cameras=a.cameras.infos())
        return {"name": name}

    async def camera_test(self, name: str) -> Json:
        """Take one photo."""
        a = cast("Agent", self)
        start = time.perf_counter()
        photo = await a.cameras.test(name)
        return {
            "name": name,
            "ok": True,
            "width": photo.width,
            "height": photo.height,
            "size": len(photo.jpeg),
            "ms": round((time.perf_counter() - start) * 1e3, 1),
            "jpeg": photo.jpeg,
        }

    # -- blobs --------------------------------------------------------------------------------------------------------

    async def blob_add(self, fd: int, size: int) -> Json:
        """Store a file's bytes."""
        a = cast("Agent", self)
        cid, stored = await a.blobs.put_fd(fd, limit=max(size, 1))
        await a.added.note(cid)
        return {"cid": cid, "size": stored}

    async def blob_path(self, cid: str) -> Path:
        """The blob's file, fetched where it is not here."""
        a = cast("Agent", self)
        parse_cid(cid)
        if not a.blobs.has(cid):
            others = [n.id for n in a.mesh.live() if n.id != a.node_id]
            holders = list(await a.exchange.have(cid, others))
            if not holders:
                raise NotFound(f"no live node has {cid} for this node", hint="only operators may fetch any blob")
            await a.exchange.fetch(cid, holders, timeout=300.0)
        return a.blobs.path(cid)

    async def blob_list(self) -> Json:
        """What is stored here."""
        a = cast("Agent", self)
        usage = a.blobs.usage()
        blobs = [
            {"cid": cid, "size": size, "pinned": a.blobs.pinned(cid)}
            for cid, size in (await asyncio.to_thread(a.blobs.contents)).items()
        ]
        return {"count": usage.count, "bytes": usage.bytes, "quota": usage.quota, "blobs": blobs}

    # -- sink ---------------------------------------------------------------------------------------------------------

    async def sink_connect(self, url: str, key: str, *, password: str = "") -> Json:
        """Connect this node to a sink."""
        a = cast("Agent", self)
        await a.uplink.connect(url, key, password)
        try:
            await a.labels.want({**a.wanted, "uplink": "true"})
        except EdgeError as e:
            log.warning("the label uplink=true is not signed yet: %s", e.message)
        return {"sink": a.uplink.state()["sink"], "node": a.identity.name, "connected": True}

    async def sink_status(self) -> Json:
        """As in `status`."""
        return uplink(cast("Agent", self))

    async def egress(self, *, since_s: float, limit: int) -> Json:
        """The ledger."""
        a = cast("Agent", self)
        since = time.time() - since_s if since_s else 0.0
        rows = await asyncio.to_thread(a.uplink.ledger.rows, since, limit=limit or 10_000)
        totals = await asyncio.to_thread(a.uplink.ledger.totals, since)
        total = {**totals["all"], "alerts": totals.get("alert", {}).get("requests", 0)}
        made = [
            {"time": r.time, "kind": r.kind, "event": r.event_id, "up": r.up, "down": r.down, "sink": r.sink}
            for r in reversed(rows)
        ]
        return {"rows": made, "total": total}
