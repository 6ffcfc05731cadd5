"""Nodes of the mesh: listing, admitting, labelling, renaming, removing."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from agent.api import results
from agent.api.resources.common import SignedLabels, certificate, name_of, open_desk, when
from agent.definitions import Definitions
from agent.errors import ConfigError, EdgeError, IdentityError, Refused
from agent.identity import AdmissionDesk, clean_name
from agent.mesh import REMOVAL, Mesh
from agent.model.labels import Selector
from agent.model.node import NodeRecord
from agent.model.placement import may_run

log = logging.getLogger(__name__)


class Nodes:
    """The nodes, and how they get in. `desk` is there on an operator.

    `wanted` are the labels that this node asks for; a label that is taken from it here is taken out of them.
    """

    def __init__(
        self,
        mesh: Mesh,
        labels: SignedLabels,
        definitions: Definitions,
        *,
        desk: AdmissionDesk | None,
        wanted: dict[str, str],
    ) -> None:
        self._mesh, self._labels, self._definitions = mesh, labels, definitions
        self._desk, self._wanted = desk, wanted

    def states(self) -> list[results.NodeState]:
        """All nodes that were seen: this one, the alive ones, the absent ones, each by name."""
        linked = {link.node for link in self._mesh.links()}
        return sorted(
            (self._state(n, linked) for n in self._mesh.known()), key=lambda n: (not n.own, not n.alive, n.name)
        )

    def _state(self, n: NodeRecord, linked: set[str]) -> results.NodeState:
        own = n.id == self._mesh.me.id
        return results.NodeState(
            id=n.id,
            name=n.name,
            role=n.role,
            own=own,
            alive=own or self._mesh.is_live(n.id),
            linked=own or n.id in linked,
            version=n.version,
            labels=n.labels,
            endpoints=n.endpoints,
            seen_s=round(self._mesh.since_record(n.id), 1),
        )

    async def matching(self, selector: str) -> list[results.ListedNode]:
        """The nodes whose labels match; raises ConfigError for a malformed selector."""
        wanted = Selector.parse(selector)
        cameras = {n.id: [c.name for c in n.cameras] for n in self._mesh.known()}
        return [
            results.ListedNode(**msgspec.structs.asdict(n), cameras=cameras.get(n.id, []))
            for n in self.states()
            if wanted.matches(n.labels)
        ]

    async def describe(self, node: str) -> results.DescribedNode:
        """One node by name or id, with its capacity, cameras and steps; raises NotFound."""
        record = self._mesh.node(node)
        shown = self._state(record, {link.node for link in self._mesh.links()})
        steps = [
            f"{p.name}/{s.name}"
            for p in self._definitions.current.values()
            for s in p.steps
            if may_run(p, s, record.labels)
        ]
        c = record.capacity
        return results.DescribedNode(
            **msgspec.structs.asdict(shown),
            capacity=results.NodeCapacity(c.cpus, c.memory, c.free, c.gpus),
            cameras=[results.NodeCamera(c.name, c.kind, c.ok) for c in record.cameras],
            steps=steps,
            certificate=self._certificate(record),
        )

    def _certificate(self, record: NodeRecord) -> results.Certificate | None:
        try:
            return certificate(self._mesh.trust.peer(record.certificate, allow_expired=True).not_after)
        except IdentityError as e:
            log.debug("%s has no valid certificate: %s", record.name, e.message)
            return None

    def waiting(self) -> int:
        """How many nodes and labels wait for this operator; 0 on other nodes."""
        return len(self._desk.pending.list()) + len(self._labels.wishes) if self._desk is not None else 0

    async def pending(self) -> list[results.Pending]:
        """Nodes that wait to join, and labels that wait to be signed; raises Refused on a node that is not an operator."""
        now, moment = time.time(), time.monotonic()
        joins = [
            results.Pending(p.code, "join", p.name, p.node_id, when(now - (moment - p.asked)), p.labels)
            for p in open_desk(self._desk, self._mesh).pending.list()
        ]
        return joins + [
            results.Pending(w.code, "labels", name_of(self._mesh, w.node), w.node, w.since, w.labels)
            for w in self._labels.wishes.values()
        ]

    async def approve(self, code: str, labels: Mapping[str, str] | None) -> results.LabelledNode:
        """Let a node in, or sign the labels that it asks for; `labels` None: those that it asks for. Raises NotFound."""
        wish = next((w for w in self._labels.wishes.values() if w.code == code.lower()), None)
        if wish is not None:
            signed = await self._labels.sign(wish.node, dict(wish.labels if labels is None else labels))
            return results.LabelledNode(wish.node, self._mesh.node(wish.node).name, signed)
        found = await open_desk(self._desk, self._mesh).approve(code, labels=labels)
        return results.LabelledNode(found.node_id, found.name, found.labels)

    async def rename(self, node: str, name: str) -> results.RenamedNode:
        """Give a node another name, with `-2` added where it is taken; the node renews its certificate to have it."""
        open_desk(self._desk, self._mesh)
        record = self._mesh.node(node)
        wanted = clean_name(name)
        if wanted != name:
            raise ConfigError(f"{name!r} is not a name", hint=f"lower-case letters, digits and '-': {wanted}")
        free, n = wanted, 2
        while any(o.name == free and o.id != record.id for o in self._mesh.known()):
            free, n = f"{wanted}-{n}", n + 1
        await self._labels.sign(record.id, self._labels.signed(record.id), free)
        try:
            await self._mesh.call(record.id, "node.renew", b"", timeout=10.0)
        except EdgeError as e:
            log.info("%s takes its new name when it renews its certificate: %s", record.name, e.message)
        return results.RenamedNode(record.id, free, record.name)

    async def label(self, node: str, add: Mapping[str, str], drop: Sequence[str]) -> results.LabelledNode:
        """Sign a node's labels anew; raises NotFound, Refused, ConfigError."""
        record = self._mesh.node(node)
        labels = await self._labels.change(record.id, dict(add), list(drop))
        if record.id == self._mesh.me.id:
            for key in drop:
                self._wanted.pop(key, None)
        return results.LabelledNode(record.id, record.name, labels)

    async def remove(self, node: str) -> results.RemovedNode:
        """Put a node out of the mesh for good; raises NotFound, and Refused for this node itself."""
        mesh = self._mesh
        record = mesh.node(node)
        if record.id == mesh.me.id:
            raise Refused("a node does not remove itself", hint="do it on another operator", code="node.self")
        silent = {n.id for n in await mesh.spread(await mesh.documents.put(REMOVAL, record.id, b""))}
        others = [n for n in mesh.live() if n.id not in (record.id, mesh.me.id)]
        absent = [n for n in mesh.known() if n.id not in (record.id, mesh.me.id) and not mesh.is_live(n.id)]
        return results.RemovedNode(
            record.id,
            record.name,
            confirmed=[mesh.me.name, *(n.name for n in others if n.id not in silent)],
            unconfirmed=[n.name for n in others if n.id in silent] + [n.name for n in absent],
            hint=KEY_HINT if record.labels.get("uplink") == "true" else "",
        )


KEY_HINT = (
    "it was connected to the sink and still has that key: at the sink, find it with edge-sink key list, "
    "make another with edge-sink key create, connect the nodes that stay, then edge-sink key revoke KEY"
)
