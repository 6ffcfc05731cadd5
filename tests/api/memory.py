"""An agent in memory for the API's and the CLI's tests: the facade over plain data, and a server of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.api import serve_api
from agent.config import Config
from agent.errors import CameraError, NotFound, PipelineError, Refused

Json = dict[str, Any]

ENDS = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")
MAC = "3c:22:fb:00:00:01"


def ends(**counts: int) -> dict[str, int]:
    """All seven ends, zero where not given."""
    return {end: counts.get(end, 0) for end in ENDS}


def step(name: str, kind: str, where: str, nodes: list[str], *, accepted: int = 0, **extra: Any) -> Json:
    """One step's row of the status."""
    counts = ends(**{k: extra.pop(k) for k in ENDS if k in extra})
    row = {"step": name, "kind": kind, "where": where, "after": [], "here": "gpu" in nodes, "nodes": nodes}
    return row | {"accepted": accepted, "open": 0, "running": 0, "ends": counts} | extra


NODES: list[Json] = [
    {"id": "g4h5j6k7m8n9p2q3", "name": "gpu", "role": "operator", "self": True, "alive": True, "linked": True,
     "version": "0.1.0", "labels": {"gpu": "true", "docker": "true", "uplink": "true"}, "endpoints": ["10.0.0.4:7946"],
     "seen_s": 0.0},
    {"id": "a2b3c4d5e6f7g8h9", "name": "ap", "role": "member", "self": False, "alive": True, "linked": True,
     "version": "0.1.0", "labels": {"wifi-log": "true"}, "endpoints": ["10.0.0.1:7946"], "seen_s": 4.2},
    {"id": "p7o6i5u4y3t2r1e0", "name": "porch", "role": "member", "self": False, "alive": True, "linked": True,
     "version": "0.1.0", "labels": {"camera": "true"}, "endpoints": ["10.0.0.2:7946"], "seen_s": 1.0},
    {"id": "z9x8c7v6b5n4m3l2", "name": "garage", "role": "member", "self": False, "alive": False, "linked": False,
     "version": "0.1.0", "labels": {"camera": "true"}, "endpoints": ["10.0.0.3:7946"], "seen_s": 312.0},
]  # fmt: skip

STEPS = [
    step("wifi", "tail", "wifi-log=true", ["ap"], accepted=12, delivered=12, run_ms=0.4),
    step("arrived", "presence", "", ["gpu"], accepted=12, delivered=3, skipped=9, run_ms=0.2),
    step("photos", "camera", "camera=true", ["porch", "garage"], accepted=3, delivered=3, run_ms=18.0),
    step("small", "wasm", "", ["porch", "garage"], accepted=6, delivered=6, run_ms=24.5),
    step("labels", "docker", "docker=true", ["gpu"], accepted=6, delivered=4, failed=1, open=1, running=1,
         run_ms=41.0, error="the container died"),
    step("alert", "sink", "uplink=true", ["gpu"], accepted=4, delivered=1, skipped=3, run_ms=9.1),
]  # fmt: skip

STATUS: Json = {
    "version": "0.1.0", "time": "2026-11-22T10:00:00.000Z", "uptime_s": 93784.0,
    "node": {"id": "g4h5j6k7m8n9p2q3", "name": "gpu", "role": "operator", "labels": NODES[0]["labels"],
             "arch": "x86_64"},
    "mesh": {"id": "m2c4kq7w", "operators": 1, "pending": 1, "listen": "0.0.0.0:7946", "enrol": "0.0.0.0:7947"},
    "certificate": {"not_after": "2027-12-27T10:00:00Z", "days_left": 399.7},
    "nodes": NODES,
    "cameras": [
        {"node": "porch", "name": "door", "kind": "rtsp", "ok": True},
        {"node": "garage", "name": "gate", "kind": "v4l2", "ok": False, "text": "no picture for 10 s"},
    ],
    "sources": [{"name": "/var/log/messages", "ok": True, "unread": 0}],
    "pipelines": [{"name": "person-at-the-door", "version": "8f3a91c2", "steps": STEPS}],
    "journal": {"accepted": 43, "open": 1, "max_open": 10000, "unread": 0,
                "ends": ends(delivered=29, skipped=12, failed=1)},
    "engines": {"wasm": "wasmtime 50.0.1", "docker": "20.10.24", "process": False, "gpu": False},
    "blobs": {"count": 12, "bytes": 1_468_006, "quota": 5_000_000_000, "pinned": 2},
    "last_event": {"id": "qx7m2k", "type": "image.labels", "time": "2026-11-22T09:59:57.120Z", "node": "gpu",
                   "pipeline": "person-at-the-door", "step": "labels", "age_s": 2.9},
    "uplink": {"configured": True, "connected": True, "sink": "https://192.0.2.7:8443", "node": "gpu", "waiting": 0,
               "delivered": 1, "last": "2026-11-22T09:59:58.000Z", "bytes_up": 61_440},
    "warnings": [
        {"code": "camera.silent", "subject": "gate", "text": "camera gate (v4l2) gives no pictures",
         "remedy": "look at edge-agent camera test gate", "severity": "warning", "node": "garage"},
        {"code": "operator.one", "subject": "mesh", "text": "only one operator can admit nodes and sign pipelines",
         "remedy": "let another device join as one: edge-agent token create --role operator", "severity": "info"},
    ],
}  # fmt: skip

TRACE: Json = {
    "id": "alert-abc", "root": "line-xyz", "pipeline": "person-at-the-door", "type": "image.labels",
    "time": "2026-11-22T09:59:58.000Z", "complete": True, "total_ms": 131.5, "bytes_up": 61_440,
    "hops": [
        {"step": "line", "node": "ap", "at_ms": 0.0, "run_ms": 0.0, "event": "line-xyz"},
        {"step": "wifi", "node": "ap", "at_ms": 1.2, "run_ms": 0.4, "event": "e1"},
        {"step": "arrived", "node": "gpu", "at_ms": 5.0, "run_ms": 0.2, "event": "e2"},
        {"step": "photos", "node": "porch", "at_ms": 29.4, "run_ms": 18.0, "event": "e3"},
        {"step": "small", "node": "porch", "at_ms": 55.0, "run_ms": 24.5, "event": "e4"},
        {"step": "labels", "node": "gpu", "at_ms": 104.1, "run_ms": 41.0, "event": "e5"},
        {"step": "alert", "node": "gpu", "at_ms": 131.5, "run_ms": 9.1, "event": "e6", "end": "delivered"},
    ],
    "branches": [{"step": "alert", "node": "gpu", "end": "skipped", "reason": "when", "count": 1}],
    "photos": [{"name": "door.jpg", "cid": "bafkreiabc", "size": 58_112}],
}  # fmt: skip

EVENT: Json = {
    "specversion": "1.0", "id": "ev1", "source": "/ap/person-at-the-door/wifi", "type": "wifi.client.joined",
    "time": "2026-11-22T09:59:57.000Z", "data": {"mac": MAC, "interface": "wlan0"}, "node": "ap",
    "pipeline": "person-at-the-door", "step": "wifi",
}  # fmt: skip


class MemoryAgent:
    """The facade over data in memory; `calls` records what changed it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.calls: list[tuple[Any, ...]] = []
        self.state = copy.deepcopy(STATUS)
        self.devices: dict[str, Json] = {
            MAC: {"id": MAC, "known": False, "private": False, "present": True, "node": "ap",
                  "first_seen": "2026-11-20T08:00:00Z", "last_seen": "2026-11-22T09:59:57Z"}
        }  # fmt: skip
        self.cameras: dict[str, Json] = {
            "door": {
                "node": "gpu",
                "name": "door",
                "kind": "file",
                "source": "file:door.jpg",
                "ok": True,
                "added": True,
            }
        }
        self.blobs: dict[str, bytes] = {}
        self.events_queue: asyncio.Queue[Json] = asyncio.Queue()
        self.sink_key = ""

    async def status(self) -> Json:
        return copy.deepcopy(self.state)

    async def events(self, *, follow: bool, limit: int, kind: str, pipeline: str) -> AsyncIterator[Json]:
        if kind in ("", EVENT["type"]) and limit:
            yield dict(EVENT)
        while follow:
            yield await self.events_queue.get()

    async def trace(self, ident: str) -> Json:
        if not TRACE["id"].startswith(ident):
            raise NotFound(f"no alert or event {ident} is known here", hint="edge-agent events shows recent ids")
        return copy.deepcopy(TRACE)

    async def logs(self, *, pipeline: str, step: str, node: str, follow: bool, lines: int) -> AsyncIterator[Json]:
        if pipeline != "person-at-the-door":
            raise NotFound(f"there is no pipeline {pipeline}", hint="person-at-the-door?")
        for n in range(min(lines, 3)):
            yield {"time": "2026-11-22T09:59:57.000Z", "node": "gpu", "step": step or "labels", "line": f"line {n}"}
        if follow:
            raise Refused("the node gpu left", hint="try again")

    async def checks(self) -> list[Json]:
        return [{"check": "mesh", "state": "ok", "text": "3 of 4 nodes are alive", "remedy": ""}]

    async def nodes(self, selector: str) -> list[Json]:
        return [{**n, "cameras": []} for n in NODES if not selector or selector.partition("=")[0] in n["labels"]]

    def _node(self, name: str) -> Json:
        for node in NODES:
            if name in (node["id"], node["name"]):
                return node
        raise NotFound(f"there is no node {name}", hint="nodes: ap, garage, gpu, porch")

    async def node_describe(self, node: str) -> Json:
        found = self._node(node)
        return found | {"capacity": {"cpus": 2.0, "memory": 1 << 30, "free": 90, "gpus": 0},
                        "cameras": [], "steps": ["person-at-the-door/labels"]}  # fmt: skip

    async def node_pending(self) -> list[Json]:
        return [{"code": "K7Q2", "kind": "join", "node": "attic", "id": "n3w", "address": "10.0.0.9",
                 "since": "2026-11-22T09:58:00Z", "labels": {"camera": "true"}}]  # fmt: skip

    async def node_approve(self, code: str, labels: Mapping[str, str] | None) -> Json:
        if code != "K7Q2":
            raise NotFound(f"nobody waits with the code {code}", hint="edge-agent node pending lists them")
        self.calls.append(("approve", code, labels))
        return {"id": "n3w", "node": "attic", "labels": dict(labels if labels is not None else {"camera": "true"})}

    async def node_rename(self, node: str, name: str) -> Json:
        self.calls.append(("rename", self._node(node)["name"], name))
        return {"id": self._node(node)["id"], "node": name, "was": node}

    async def node_label(self, node: str, add: Mapping[str, str], drop: Sequence[str]) -> Json:
        labels = {k: v for k, v in {**self._node(node)["labels"], **add}.items() if k not in drop}
        self.calls.append(("label", node, dict(add), list(drop)))
        return {"id": self._node(node)["id"], "node": node, "labels": labels}

    async def node_remove(self, node: str) -> Json:
        self.calls.append(("remove", self._node(node)["name"]))
        return {"id": self._node(node)["id"], "node": node, "confirmed": ["ap"], "unconfirmed": ["porch"],
                "hint": "its key: edge-sink key revoke KEY"}  # fmt: skip

    async def token_create(self, *, ttl: float, uses: int, role: str, labels: Mapping[str, str]) -> Json:
        self.calls.append(("token", ttl, uses, role, dict(labels)))
        return {"id": "t1", "token": "edge1.c2VjcmV0", "expires": "2026-11-22T11:00:00Z", "uses": uses, "role": role,
                "labels": dict(labels), "line": "edge-agent serve --join edge1.c2VjcmV0"}  # fmt: skip

    async def token_list(self) -> list[Json]:
        return [{"id": "t1", "role": "member", "labels": {}, "expires": "2026-11-22T11:00:00Z", "uses": 1, "left": 1}]

    async def token_revoke(self, ident: str) -> Json:
        if ident != "t1":
            raise NotFound(f"there is no token {ident}", hint="edge-agent token list")
        self.calls.append(("revoke", ident))
        return {"id": ident}

    async def pipeline_files(self, text: str, file: str) -> list[str]:
        if "steps:" not in text:
            raise PipelineError(f"{file}:1: steps is missing", hint="a pipeline has steps", file=file, line=1)
        return [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith("module:")]

    async def pipeline_apply(self, text: str, file: str, files: Mapping[str, bytes], *, dry_run: bool) -> Json:
        self.calls.append(("apply", file, dict(files), dry_run))
        steps = [{k: s[k] for k in ("step", "kind", "where", "nodes")} for s in STEPS]
        return {"name": "person-at-the-door", "version": "9d", "counter": 2, "changed": True, "warnings": [],
                "steps": steps, "overrode": {"version": "8f3a91c2", "counter": 1, "signer": "gpu"}}  # fmt: skip

    async def pipeline_diff(self, text: str, file: str, files: Mapping[str, bytes]) -> Json:
        return {
            "name": "person-at-the-door",
            "from": "8f",
            "to": "9d",
            "diff": "--- 8f\n+++ 9d\n-score: 0.4\n+score: 0.5\n",
        }

    async def pipeline_list(self) -> list[Json]:
        return [{"name": "person-at-the-door", "version": "8f3a91c2", "counter": 1, "signer": "gpu",
                 "applied": "2026-11-22T09:00:00Z", "steps": 6, "open": 1, "alerts": 1}]  # fmt: skip

    def _pipeline(self, name: str) -> Json:
        if name != "person-at-the-door":
            raise NotFound(f"there is no pipeline {name}", hint="did you mean person-at-the-door?")
        return self.state["pipelines"][0]  # type: ignore[no-any-return]

    async def pipeline_describe(self, name: str) -> Json:
        return self._pipeline(name) | {
            "counter": 1,
            "signer": "gpu",
            "applied": "2026-11-22T09:00:00Z",
            "text": "version: 1\n",
        }

    async def pipeline_history(self, name: str) -> list[Json]:
        self._pipeline(name)
        return [
            {"version": "8f3a91c2", "counter": 1, "signer": "gpu", "applied": "2026-11-22T09:00:00Z", "current": True}
        ]

    async def pipeline_rollback(self, name: str, version: str) -> Json:
        self._pipeline(name)
        self.calls.append(("rollback", name, version))
        return {"name": name, "version": "7e", "counter": 3, "changed": True, "warnings": [], "steps": []}

    async def pipeline_pause(self, name: str, seconds: float) -> Json:
        self._pipeline(name)
        self.calls.append(("pause", name, seconds))
        return {"name": name, "paused_s": seconds}

    async def pipeline_resume(self, name: str) -> Json:
        self.calls.append(("resume", name))
        return {"name": name}

    async def pipeline_trigger(self, name: str, step: str, kind: str, data: Mapping[str, Any]) -> Json:
        self._pipeline(name)
        self.calls.append(("trigger", name, step, kind, dict(data)))
        return {"id": "new1", "pipeline": name, "step": step}

    async def pipeline_test(
        self, text: str, file: str, files: Mapping[str, bytes], step: str, events: Sequence[Mapping[str, Any]]
    ) -> list[Json]:
        return [{"id": e.get("id", ""), "end": "delivered", "events": [dict(e)], "ms": 1.5} for e in events]

    async def pipeline_remove(self, name: str) -> Json:
        self._pipeline(name)
        self.calls.append(("remove-pipeline", name))
        return {"name": name, "version": "8f3a91c2", "counter": 2}

    async def pipeline_schema(self) -> Json:
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}

    async def device_list(self) -> list[Json]:
        return list(self.devices.values())

    async def device_update(self, ident: str, *, name: str | None, known: bool | None) -> Json:
        if ident not in self.devices:
            raise NotFound(f"there is no device {ident}", hint=MAC)
        changes = {k: v for k, v in (("name", name), ("known", known)) if v is not None}
        self.devices[ident] |= changes
        return self.devices[ident]

    async def device_forget(self, ident: str) -> Json:
        if self.devices.pop(ident, None) is None:
            raise NotFound(f"there is no device {ident}", hint="edge-agent device list")
        return {"id": ident}

    async def camera_list(self) -> list[Json]:
        return list(self.cameras.values())

    async def camera_add(self, name: str, source: str, options: Mapping[str, Any]) -> Json:
        self.calls.append(("camera", name, source, dict(options)))
        self.cameras[name] = {
            "node": "gpu",
            "name": name,
            "kind": "rtsp",
            "source": "rtsp://…",
            "ok": True,
            "added": True,
        }
        return self.cameras[name]

    async def camera_remove(self, name: str) -> Json:
        if self.cameras.pop(name, None) is None:
            raise NotFound(f"there is no camera {name}", hint="edge-agent camera list")
        return {"name": name}

    async def camera_test(self, name: str) -> Json:
        if name != "door":
            raise CameraError(f"camera {name} gives no pictures", hint="is it switched on?")
        return {
            "name": name,
            "ok": True,
            "width": 1920,
            "height": 1080,
            "size": 4,
            "ms": 12.5,
            "jpeg": b"\xff\xd8\xff\xd9",
        }

    async def blob_add(self, fd: int, size: int) -> Json:
        data = os.pread(fd, size, 0)
        cid = f"bafkrei{len(self.blobs)}{size}"
        self.blobs[cid] = data
        return {"cid": cid, "size": len(data)}

    async def blob_path(self, cid: str) -> Path:
        if cid not in self.blobs:
            raise NotFound(f"nobody has the blob {cid}", hint="is its node switched on?")
        path = self.config.state / cid
        path.write_bytes(self.blobs[cid])
        return path

    async def blob_list(self) -> Json:
        rows = [{"cid": c, "size": len(b), "pinned": False} for c, b in self.blobs.items()]
        return {"count": len(rows), "bytes": sum(len(b) for b in self.blobs.values()), "quota": 1 << 30, "blobs": rows}

    async def sink_connect(self, url: str, key: str, *, password: str = "") -> Json:
        self.sink_key = key
        return {"sink": url.partition("#")[0], "node": "gpu", "connected": True}

    async def sink_status(self) -> Json:
        return dict(self.state["uplink"])

    async def egress(self, *, since_s: float, limit: int) -> Json:
        rows = [{"time": "2026-11-22T09:59:58.000Z", "kind": "alert", "event": "alert-abc", "up": 61440, "down": 212,
                 "sink": "https://192.0.2.7:8443"}]  # fmt: skip
        return {"rows": rows[:limit], "total": {"up": 61440, "down": 212, "requests": 1, "alerts": 1}}


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[MemoryAgent]:
    """The API of a MemoryAgent on `folder/a.sock`, stopped afterwards."""
    agent = MemoryAgent(Config(state=folder, run=folder / "a.sock", name="gpu"))
    task = asyncio.create_task(serve_api(agent))
    try:
        while not agent.config.run.exists() and not task.done():
            await asyncio.sleep(0.005)
        yield agent
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error
