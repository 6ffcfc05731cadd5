"""What the API asks about nodes and joining."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from agent.errors import ConfigError, EdgeError, Refused
from agent.identity import PendingNode, clean_name
from agent.mesh.documents import REMOVAL
from agent.model.labels import Selector
from agent.model.node import ROLE_MEMBER, ROLE_OPERATOR, NodeRecord
from agent.model.placement import may_run
from agent.node.facade_status import nodes

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]


class NodeMixin:
    """See `agent.api.facade.NodeFacade` for what each dict holds."""

    async def nodes(self, selector: str) -> list[Json]:
        """Nodes whose labels match."""
        a = cast("Agent", self)
        wanted = Selector.parse(selector)
        cameras = {n.id: [c.name for c in n.cameras] for n in a.mesh.known()}
        return [{**n, "cameras": cameras.get(n["id"], [])} for n in nodes(a) if wanted.matches(n["labels"])]

    async def node_describe(self, node: str) -> Json:
        """One node with its capacity, cameras and steps."""
        a = cast("Agent", self)
        record = a.mesh.node(node)
        shown = next(n for n in nodes(a) if n["id"] == record.id)
        steps = [
            f"{p.name}/{s.name}"
            for p in a.pipelines.definitions.current.values()
            for s in p.steps
            if may_run(p, s, record.labels)
        ]
        return {
            **shown,
            "capacity": msgspec.structs.asdict(record.capacity),
            "cameras": [msgspec.structs.asdict(c) for c in record.cameras],
            "steps": steps,
        }

    async def node_pending(self) -> list[Json]:
        """Nodes that wait to be let in, and labels that wait to be signed."""
        a = cast("Agent", self)
        a_desk = self._desk()
        made = [
            {"code": p.code, "kind": "join", "node": p.name, "id": p.node_id, "since": "", "labels": p.labels}
            for p in a_desk.pending.list()
        ]
        for wish in a.labels.wishes.values():
            record = a.record(wish.node)
            name = record.name if record else wish.node
            made.append(
                {
                    "code": wish.code,
                    "kind": "labels",
                    "node": name,
                    "id": wish.node,
                    "since": wish.since,
                    "labels": wish.labels,
                }
            )
        return made

    async def node_approve(self, code: str, labels: Mapping[str, str] | None) -> Json:
        """Let a node in, or sign the labels that it asked for."""
        a = cast("Agent", self)
        wish = next((w for w in a.labels.wishes.values() if w.code == code.lower()), None)
        if wish is not None:
            signed = await a.labels.sign(wish.node, dict(wish.labels if labels is None else labels))
            return {"id": wish.node, "node": a.mesh.node(wish.node).name, "labels": signed}
        found: PendingNode = await self._desk().approve(code, labels=labels)
        return {"id": found.node_id, "node": found.name, "labels": found.labels}

    async def node_rename(self, node: str, name: str) -> Json:
        """Give a node another name; it renews its certificate to have it."""
        a = cast("Agent", self)
        self._desk()
        record = a.mesh.node(node)
        wanted = clean_name(name)
        if wanted != name:
            raise ConfigError(f"{name!r} is not a name", hint=f"lower-case letters, digits and '-': {wanted}")
        free, n = wanted, 2
        while any(o.name == free and o.id != record.id for o in a.mesh.known()):
            free, n = f"{wanted}-{n}", n + 1
        await a.labels.sign(record.id, a.labels.signed(record.id), free)
        try:
            await a.mesh.call(record.id, "node.renew", b"", timeout=10.0)
        except EdgeError as e:
            log.info("%s takes its new name when it renews its certificate: %s", record.name, e.message)
        return {"id": record.id, "node": free, "was": record.name}

    async def node_label(self, node: str, add: Mapping[str, str], drop: Sequence[str]) -> Json:
        """Sign a node's labels anew."""
        a = cast("Agent", self)
        record = a.mesh.node(node)
        labels = await a.labels.change(record.id, dict(add), list(drop))
        if record.id == a.node_id:
            for key in drop:
                a.wanted.pop(key, None)
        return {"id": record.id, "node": record.name, "labels": labels}

    async def node_remove(self, node: str) -> Json:
        """Put a node out of the mesh for good."""
        a = cast("Agent", self)
        record = a.mesh.node(node)
        if record.id == a.node_id:
            raise Refused("a node does not remove itself", hint="do it on another operator", code="node.self")
        document = await a.mesh.documents.put(REMOVAL, record.id, b"")
        silent = {n.id for n in await a.mesh.spread(document)}
        others = [n for n in a.mesh.live() if n.id not in (record.id, a.node_id)]
        made: Json = {
            "id": record.id,
            "node": record.name,
            "confirmed": [a.identity.name, *(n.name for n in others if n.id not in silent)],
            "unconfirmed": [n.name for n in others if n.id in silent] + absent(a, record),
        }
        if record.labels.get("uplink") == "true":
            made["hint"] = (
                "it was connected to the sink and still has that key: at the sink, find it with edge-sink key list, "
                "make another with edge-sink key create, connect the nodes that stay, then edge-sink key revoke KEY"
            )
        return made

    async def token_create(self, *, ttl: float, uses: int, role: str, labels: Mapping[str, str]) -> Json:
        """A token and the line that uses it."""
        a = cast("Agent", self)
        self._desk()
        if role not in (ROLE_MEMBER, ROLE_OPERATOR):
            raise ConfigError(f"{role!r} is no role", hint="member or operator")
        token = a.tokens.issue(a.identity, a.enrol_addresses(), role=role, labels=labels, uses=uses, lifetime=ttl)
        text = token.encode()
        return {
            "id": token.id,
            "token": text,
            "expires": when(token.expires),
            "uses": uses,
            "role": role,
            "labels": dict(labels),
            "line": f"edge-agent serve --join {text}",
        }

    async def token_list(self) -> list[Json]:
        """All tokens without their secrets."""
        a = cast("Agent", self)
        return [
            {"id": r.id, "role": r.role, "labels": r.labels, "expires": when(r.expires), "uses": r.uses,
             "left": max(0, r.uses - len(r.redeemed)), "created": when(r.created), "state": r.state}
            for r in a.tokens.list()
        ]  # fmt: skip

    async def token_revoke(self, ident: str) -> Json:
        """End a token."""
        return {"id": cast("Agent", self).tokens.revoke(ident).id}

    def _desk(self) -> Any:
        a = cast("Agent", self)
        if a.desk is None:
            operators = ", ".join(n.name for n in a.mesh.live() if n.role == ROLE_OPERATOR) or "none is here now"
            raise Refused(
                f"{a.identity.name} is no operator", code="not-operator", hint=f"do it on an operator: {operators}"
            )
        return a.desk


def absent(a: Agent, but: NodeRecord) -> list[str]:
    """Nodes that are not here to confirm anything."""
    return [n.name for n in a.mesh.known() if n.id not in (but.id, a.node_id) and not a.mesh.is_live(n.id)]


def when(unix: float) -> str:
    """RFC 3339 of a Unix time."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
