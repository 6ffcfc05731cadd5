"""Nodes of the mesh: listing, admitting, labelling, renaming, removing."""

from __future__ import annotations

import logging
import time
from dataclasses import KW_ONLY, dataclass

import msgspec

from agent.api import results
from agent.api.requests import Approve, Label, NodesQuery, Rename
from agent.api.resources.common import SignedLabels, certificate, name_of, open_desk, when
from agent.api.resources.other_nodes import OtherNodes
from agent.definitions import Definitions
from agent.errors import ConfigError, EdgeError, IdentityError, NotFound, Refused
from agent.identity import AdmissionDesk, clean_name
from agent.mesh import REMOVAL, Mesh
from agent.model.labels import Selector
from agent.model.node import NodeRecord
from agent.model.placement import may_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Nodes:
    """The nodes and their admission. Only an operator has a `desk`.

    `wanted` are the labels that this node asks for; a label that is taken from it here is taken out of them.
    """

    mesh: Mesh
    labels: SignedLabels
    definitions: Definitions
    _: KW_ONLY
    desk: AdmissionDesk | None
    wanted: dict[str, str]
    others: OtherNodes
    device: results.DeviceFacts

    def states(self) -> list[results.NodeState]:
        """All known nodes: this node, then the live nodes, then the absent nodes, sorted by name."""
        linked = {link.node for link in self.mesh.links()}
        return sorted(
            (self._state(n, linked) for n in self.mesh.known()), key=lambda n: (not n.own, not n.alive, n.name)
        )

    def _state(self, n: NodeRecord, linked: set[str]) -> results.NodeState:
        own = n.id == self.mesh.me.id
        return results.NodeState(
            id=n.id,
            name=n.name,
            role=n.role,
            own=own,
            alive=own or self.mesh.is_live(n.id),
            linked=own or n.id in linked,
            version=n.version,
            labels=n.labels,
            endpoints=n.endpoints,
            seen_s=round(self.mesh.since_record(n.id), 1),
        )

    async def matching(self, asked: NodesQuery) -> list[results.ListedNode]:
        """The nodes whose labels match; raises ConfigError for a malformed selector."""
        wanted = Selector.parse(asked.where)
        cameras = {n.id: [c.name for c in n.cameras] for n in self.mesh.known()}
        return [
            results.ListedNode(**msgspec.structs.asdict(n), cameras=cameras.get(n.id, []))
            for n in self.states()
            if wanted.matches(n.labels)
        ]

    async def describe(self, node: str) -> results.DescribedNode:
        """One node by name or id, with its capacity, cameras and steps; raises NotFound."""
        record = self.mesh.node(node)
        shown = self._state(record, {link.node for link in self.mesh.links()})
        steps = [
            f"{p.name}/{s.name}"
            for p in self.definitions.current.values()
            for s in p.steps
            if may_run(p, s, record.labels)
        ]
        c = record.capacity
        return results.DescribedNode(
            **msgspec.structs.asdict(shown),
            capacity=results.NodeCapacity(c.cpus, c.memory, c.free, c.gpus),
            cameras=[results.NodeCamera(c.name, c.kind, c.ok, c.worked) for c in record.cameras],
            steps=steps,
            certificate=self._certificate(record),
            device=await self._device(record),
        )

    async def _device(self, record: NodeRecord) -> results.DeviceFacts | None:
        """The facts of a node's hardware; None where the node does not tell them to this one."""
        if record.id == self.mesh.me.id:
            return self.device
        if self.desk is None or not self.mesh.is_live(record.id):
            return None
        try:
            return (await self.others.one(record.id)).device
        except EdgeError as e:
            log.debug("%s does not tell its facts: %s", record.name, e.message)
            return None

    def _certificate(self, record: NodeRecord) -> results.Certificate | None:
        try:
            return certificate(self.mesh.trust.peer(record.certificate, allow_expired=True).not_after)
        except IdentityError as e:
            log.debug("%s has no valid certificate: %s", record.name, e.message)
            return None

    def waiting(self) -> int:
        """How many nodes and labels wait for this operator; 0 on other nodes."""
        return len(self.desk.pending.list()) + len(self.labels.wishes) if self.desk is not None else 0

    async def pending(self) -> list[results.Pending]:
        """Nodes that wait to join, and labels that wait to be signed; raises Refused on a node that is not an operator."""
        now, moment = time.time(), time.monotonic()
        joins = [
            results.Pending(p.code, "join", p.name, p.node_id, when(now - (moment - p.asked)), p.labels)
            for p in open_desk(self.desk, self.mesh).pending.list()
        ]
        return joins + [
            results.Pending(w.code, "labels", name_of(self.mesh, w.node), w.node, w.since, w.labels)
            for w in self.labels.wishes.values()
        ]

    async def approve(self, code: str, asked: Approve) -> results.LabelledNode:
        """Admit a node, or sign the labels that it asks for; raises NotFound."""
        wish = next((w for w in self.labels.wishes.values() if w.code == code.lower()), None)
        if wish is not None:
            signed = await self.labels.sign(wish.node, wish.labels if asked.labels is None else asked.labels)
            return results.LabelledNode(wish.node, self.mesh.node(wish.node).name, signed)
        found = await open_desk(self.desk, self.mesh).approve(code, labels=asked.labels)
        return results.LabelledNode(found.node_id, found.name, found.labels)

    async def rename(self, node: str, asked: Rename) -> results.RenamedNode:
        """Give a node another name, with `-2` added where it is taken; the node renews its certificate to get the name."""
        open_desk(self.desk, self.mesh)
        record = self.mesh.node(node)
        wanted = clean_name(asked.name)
        if wanted != asked.name:
            raise ConfigError(f"{asked.name!r} is not a name", hint=f"lower-case letters, digits and '-': {wanted}")
        free, n = wanted, 2
        while any(o.name == free and o.id != record.id for o in self.mesh.known()):
            free, n = f"{wanted}-{n}", n + 1
        await self.labels.sign(record.id, self.labels.signed(record.id), free)
        try:
            await self.mesh.call(record.id, "node.renew", b"", timeout=10.0)
        except EdgeError as e:
            log.info("%s takes its new name when it renews its certificate: %s", record.name, e.message)
        return results.RenamedNode(record.id, free, record.name)

    async def label(self, node: str, asked: Label) -> results.LabelledNode:
        """Sign new labels for a node; raises NotFound, Refused, ConfigError."""
        record = self.mesh.node(node)
        labels = await self.labels.change(record.id, asked.add, asked.drop)
        if record.id == self.mesh.me.id:
            for key in asked.drop:
                self.wanted.pop(key, None)
        return results.LabelledNode(record.id, record.name, labels)

    async def remove(self, node: str) -> results.RemovedNode:
        """Remove a node from the mesh for good, seen or not; raises NotFound, and Refused for this node itself."""
        mesh = self.mesh
        record = self._admitted(node)
        if record.id == mesh.me.id:
            raise Refused("a node does not remove itself", hint="do it on another operator", code="node.self")
        await self._tell(record)
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

    def _admitted(self, node: str) -> NodeRecord:
        """The record of a node, or what is signed about one that was not seen since this node started; raises NotFound."""
        try:
            return self.mesh.node(node)
        except NotFound:
            found = [
                NodeRecord(id=i, name=n, labels=self.labels.signed(i))
                for i, n in self.labels.names().items()
                if node in (i, n)
            ]
            if len(found) > 1:
                ids = ", ".join(record.id for record in found)
                raise ConfigError(f"several nodes were called {node!r}", hint=f"give the id: {ids}") from None
            if not found:
                raise
            return found[0]

    async def _tell(self, record: NodeRecord) -> None:
        """Tell a node that it is removed: afterwards nobody answers it. An absent node is not told."""
        if self.desk is None or not self.mesh.is_live(record.id):
            return
        try:
            await self.mesh.call(record.id, "node.removed", b"", timeout=3.0)
        except EdgeError as e:
            log.info("%s could not be told that it is removed: %s", record.name, e.message)


KEY_HINT = (
    "it was connected to the sink and still has that key: at the sink, find it with edge-sink key list, "
    "make another with edge-sink key create, connect the nodes that stay, then edge-sink key revoke KEY"
)
