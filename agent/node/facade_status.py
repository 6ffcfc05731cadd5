"""What the API asks about the state of this node: status, events, trace, logs, checks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from agent.delivery import ENDS, TraceRow
from agent.errors import NotFound
from agent.model.event import now
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.node.following import followed
from agent.node.step_logs import execution

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]
STARTED = time.monotonic()


class StatusMixin:
    """See `agent.api.facade.StatusFacade` for what each dict holds."""

    async def status(self) -> Json:
        """Everything that `status` shows."""
        a = cast("Agent", self)
        mesh = a.config.mesh
        warnings = [msgspec.to_builtins(w) for w in a.health.list()]
        made: Json = {
            "version": a.version,
            "time": now(),
            "uptime_s": round(time.monotonic() - STARTED, 1),
            "node": {
                "id": a.node_id,
                "name": a.identity.name,
                "role": a.identity.role,
                "labels": a.mesh.me.labels,
                "boot": a.mesh.boot,
                "arch": a.arch,
            },
            "mesh": {
                "id": a.identity.mesh_id,
                "operators": sum(n.role == "operator" for n in a.mesh.known()),
                "pending": len(a.desk.pending.list()) + len(a.labels.wishes) if a.desk else 0,
                "listen": f"{mesh.listen}:{mesh.port}",
                "enrol": f"{mesh.listen}:{mesh.enrol_port}",
            },
            "certificate": _certificate(a.identity.not_after),
            "nodes": nodes(a),
            "cameras": [
                {"node": n.name, "name": c.name, "kind": c.kind, "ok": c.ok} for n in a.mesh.live() for c in n.cameras
            ],
            "sources": [
                {"name": f"{k[0]}/{k[2]} {r.source.name}", "ok": not (r.error or r.source.problem),
                 "unread": r.source.counters.unread, "text": r.error or r.source.problem}
                for k, r in a.sources.runners.items()
            ],
            "pipelines": [describe(a, p) for p in a.pipelines.definitions.current.values()],
            "journal": journal(a),
            "engines": await engines(a),
            "blobs": msgspec.to_builtins(a.blobs.usage()),
            "uplink": uplink(a),
            "warnings": warnings,
        }  # fmt: skip
        if a.pipelines.recent:
            last = a.pipelines.recent[-1]
            made["last_event"] = {k: last.get(k, "") for k in ("id", "type", "time", "node", "pipeline", "step")}
            made["last_event"]["age_s"] = round(max(0.0, time.time() - _unix(last["time"])), 1)
        return made

    async def events(self, *, follow: bool, limit: int, kind: str, pipeline: str) -> AsyncIterator[Json]:
        """Recent events, then new ones as the mesh hears them."""
        a = cast("Agent", self)

        def fits(event: Json) -> bool:
            return kind in ("", event.get("type")) and pipeline in ("", event.get("pipeline"))

        for event in [e for e in a.pipelines.recent if fits(e)][-limit:] if limit else []:
            yield event
        if not follow:
            return
        stream = a.mesh.tail_logs("events")
        async with aclosing(followed([stream], lambda _, event: event if fits(event) else None)) as rows:  # type: ignore[type-var]
            async for event in rows:
                yield event

    async def trace(self, ident: str) -> Json:
        """The way of an alert or event over all nodes."""
        a = cast("Agent", self)
        root, rows = await a.pipelines.traces.gather(ident)
        named = [r for r in rows if ident and (r.alert.startswith(ident) or r.event.startswith(ident))]
        whole = max(named or rows, key=lambda r: (r.alert.startswith(ident), len(r.trace)))
        hops = [msgspec.to_builtins(h) for h in whole.trace]
        photos = []
        for row in a.journal.of_root(root):
            if row.event.id == whole.event:
                photos = [{"name": b.name, "cid": b.cid, "size": b.size} for b in row.event.blobs()]
        made: Json = {
            "id": whole.alert or whole.event,
            "root": root,
            "pipeline": whole.pipeline,
            "type": whole.type,
            "time": whole.time,
            "complete": all(r.end for r in rows),
            "total_ms": hops[-1]["at_ms"] if hops else 0.0,
            "hops": hops,
            "branches": branches(rows),
            "photos": photos,
        }
        up = sum(r.up for r in await asyncio.to_thread(a.uplink.ledger.of_event, whole.alert or whole.event))
        if up:
            made["bytes_up"] = up
        return made

    async def logs(self, *, pipeline: str, step: str, node: str, follow: bool, lines: int) -> AsyncIterator[Json]:
        """The last log lines of a step here, then new ones from every node."""
        a = cast("Agent", self)
        current = a.pipelines.definitions.current.get(pipeline)
        if current is None:
            raise NotFound(f"there is no pipeline {pipeline}", hint=known(a.pipelines.definitions.current))
        if step and current.step(step) is None:
            raise NotFound(f"{pipeline} has no step {step}", hint=known(s.name for s in current.steps))
        if node in ("", a.identity.name, a.node_id):
            for row in a.logs_kept.last(pipeline, step, lines) if lines else []:
                yield {"node": a.identity.name, **row}
        if not follow:
            return
        wanted = a.mesh.node(node).id if node else ""
        names = [step] if step else [s.name for s in current.steps]
        streams = [a.mesh.tail_logs(execution(pipeline, name), wanted) for name in names]
        async with aclosing(followed(streams, lambda line, row: {**row, "node": _name(a, line.node)})) as rows:  # type: ignore[type-var]
            async for row in rows:
                yield row

    async def checks(self) -> list[Json]:
        """What `doctor` can only learn inside."""
        a = cast("Agent", self)
        links = len(a.mesh.links())
        others = len(a.mesh.known()) - 1
        made = [
            {"check": "mesh", "state": "ok" if links >= min(1, others) else "warn", "text": f"{links} links, {others} other nodes",
             "remedy": "check that the mesh port is open on one of two nodes"},
            {"check": "journal", "state": "fail" if a.journal.storage.failed else "ok",
             "text": str(a.journal.storage.failed or "writable"), "remedy": "check the disk, then restart the agent"},
        ]  # fmt: skip
        made += [{"check": w.code, "state": "warn", "text": w.text, "remedy": w.remedy} for w in a.health.list()]
        return made


def _name(a: Agent, node_id: str) -> str:
    try:
        return a.mesh.node(node_id).name
    except NotFound:  # its lines came before its record
        return node_id


def known(names: Any) -> str:
    """A hint that lists what there is."""
    found = ", ".join(sorted(names))
    return f"there is: {found}" if found else "there is none yet"


def nodes(a: Agent) -> list[Json]:
    """All nodes that were seen, this one first, then the alive ones by name."""
    linked = {link.node for link in a.mesh.links()}
    made = []
    for n in a.mesh.known():
        mine = n.id == a.node_id
        made.append(
            {"id": n.id, "name": n.name, "role": n.role, "self": mine, "alive": mine or a.mesh.is_live(n.id),
             "linked": mine or n.id in linked, "version": n.version, "labels": n.labels, "endpoints": n.endpoints}
        )  # fmt: skip
    return sorted(made, key=lambda n: (not n["self"], not n["alive"], n["name"]))


def describe(a: Agent, p: Pipeline) -> Json:
    """One pipeline with its steps and this node's counts."""
    totals = a.pipelines.totals().get(p.name, {})
    made: Json = {"name": p.name, "version": p.version, "steps": [_step(a, p, s, totals.get(s.name)) for s in p.steps]}
    if p.paused_until > time.time():
        made["paused_s"] = round(p.paused_until - time.time(), 1)
    return made


def _step(a: Agent, p: Pipeline, s: Step, counts: dict[str, int] | None) -> Json:
    counts = counts or {"accepted": 0, "open": 0, **dict.fromkeys(ENDS, 0)}
    where = [n.name for n in a.mesh.live() if may_run(p, s, n.labels)]
    host = a.pipelines.hosts.describe(p.name, s.name)
    host.pop("queued", None)
    counted = a.journal.counts.get((p.name, s.name))
    if counted and counted["failed_batches"]:
        host["failed_batches"] = counted["failed_batches"]
    return {
        "step": s.name, "kind": s.kind, "where": s.where, "after": s.after, "here": a.identity.name in where,
        "nodes": where, "accepted": counts["accepted"], "open": counts["open"],
        "ends": {e: counts[e] for e in ENDS}, **host,
    }  # fmt: skip


def no_nodes(a: Agent, pipeline: Pipeline) -> list[str]:
    """Steps that nobody would run now."""
    live = a.mesh.live()
    return [
        f"step {s.name}: no live node matches {s.where or 'it'}"
        for s in pipeline.steps
        if not any(may_run(pipeline, s, n.labels) for n in live)
    ]


def journal(a: Agent) -> Json:
    """The sums over all steps."""
    totals = [c for steps in a.pipelines.totals().values() for c in steps.values()]
    return {
        "accepted": sum(c["accepted"] for c in totals),
        "open": a.journal.open_count,
        "max_open": a.journal.max_open,
        "ends": {e: sum(c[e] for c in totals) for e in ENDS},
        "unread": sum(r.source.counters.unread for r in a.sources.runners.values()),
    }


async def engines(a: Agent) -> Json:
    """What programs this node can run."""
    return {
        "wasm": a.wasm.name if a.config.policy.wasm else "",
        "docker": "yes" if a.docker.available and a.config.policy.docker else "",
        "process": a.config.policy.process,
        "gpu": a.mesh.me.labels.get("gpu") == "true",
    }


def uplink(a: Agent) -> Json:
    """The way out, here or on another node."""
    state = a.uplink.state()
    made: Json = {**state, "node": ""}
    if state.get("last_error"):
        made["error"] = state["last_error"]
    has = [n.name for n in a.mesh.live() if n.labels.get("uplink") == "true"]
    made["node"] = has[0] if has else ""
    made["configured"] = bool(state["configured"] or has)
    return made


def branches(rows: list[TraceRow]) -> list[Json]:
    """Every step's ends on every node, counted."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for r in rows:
        key = (r.step, r.node, r.end or r.state, r.reason)
        counts[key] = counts.get(key, 0) + 1
    return [{"step": s, "node": n, "end": e, "reason": w, "count": c} for (s, n, e, w), c in counts.items()]


def _certificate(not_after: float) -> Json:
    from datetime import UTC, datetime

    until = datetime.fromtimestamp(not_after, UTC).isoformat(timespec="seconds")
    return {"not_after": until, "days_left": round((not_after - time.time()) / 86400)}


def _unix(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
