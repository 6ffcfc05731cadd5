"""Labels that selectors see: signed by an operator, one document of kind `label` for each node."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field

import msgspec

from agent.errors import ConfigError, EdgeError, Refused
from agent.identity import Identity, PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.event import now
from agent.model.labels import RESERVED, check_label

log = logging.getLogger(__name__)

KIND = "label"
MAX_LABELS = 64


class NodeLabels(msgspec.Struct, omit_defaults=True):
    """The body of a `label` document, named by the node's id."""

    labels: dict[str, str]
    name: str = ""


@dataclass
class LabelWish:
    """A node would like other labels than the signed ones; an operator confirms by `code`."""

    code: str
    node: str
    labels: dict[str, str]
    since: str = field(default_factory=now)


class Labels:
    """Reads, signs and asks for labels."""

    def __init__(self, identity: Identity, mesh: Mesh) -> None:
        self.identity = identity
        self.mesh = mesh
        self.wishes: dict[str, LabelWish] = {}
        self._read: dict[str, tuple[bytes, NodeLabels | None]] = {}
        self.unsigned: dict[str, str] = {}
        """What this node would like and no operator has signed yet."""
        mesh.show_labels(self.signed)
        mesh.serve("label.wish", self._wish)

    def signed(self, node_id: str) -> dict[str, str]:
        """The labels that an operator signed for a node."""
        found = self._document(node_id)
        return dict(found.labels) if found else {}

    def name_of(self, node_id: str) -> str:
        """The name that an operator signed with the labels, empty where there is none."""
        found = self._document(node_id)
        return found.name if found else ""

    def _document(self, node_id: str) -> NodeLabels | None:
        document = self.mesh.documents.get(KIND, node_id)
        if document is None:
            return None
        known = self._read.get(node_id)
        if known is None or known[0] is not document.body:
            known = self._read[node_id] = (document.body, _labels(node_id, document.body))
        return known[1]

    async def sign(self, node_id: str, labels: dict[str, str], name: str = "") -> dict[str, str]:
        """Sign a node's labels; raises Refused on a node that is no operator, ConfigError for a bad label."""
        if len(labels) > MAX_LABELS:
            raise ConfigError(
                f"more than {MAX_LABELS} labels on one node", hint="remove some with `node label NAME KEY-`"
            )
        for key, value in labels.items():
            check_label(key, value)
        body = NodeLabels(dict(sorted(labels.items())), name or self.name_of(node_id))
        await self.mesh.documents.put(KIND, node_id, msgspec.json.encode(body))
        self.wishes.pop(node_id, None)
        self.mesh.reconsider(node_id)
        return body.labels

    async def change(self, node_id: str, add: dict[str, str], drop: list[str]) -> dict[str, str]:
        """Add and drop some of a node's labels."""
        now_ = self.signed(node_id)
        return await self.sign(node_id, {k: v for k, v in {**now_, **add}.items() if k not in drop})

    # -- wishes -------------------------------------------------------------------------------------------------------

    async def want(self, wanted: dict[str, str]) -> None:
        """Have these labels on this node: signed at once by an operator's own hand, else asked for."""
        mine = self.signed(self.identity.node_id)
        missing = {k: v for k, v in wanted.items() if mine.get(k) != v and k not in RESERVED}
        self.unsigned = {}
        if not missing:
            return
        if self.identity.is_operator:
            await self.change(self.identity.node_id, missing, [])
            return
        self.unsigned = missing
        body = msgspec.json.encode({**mine, **missing})
        for node in self.mesh.live():
            if node.role == "operator" and node.id != self.identity.node_id:
                try:
                    await self.mesh.call(node.id, "label.wish", body)
                except EdgeError as e:
                    log.debug("%s has not heard our wish for labels: %s", node.name, e)

    async def _wish(self, peer: PeerIdentity, body: bytes) -> bytes:
        try:
            labels = msgspec.json.decode(body, type=dict[str, str])
            if len(labels) > MAX_LABELS:
                raise ConfigError("too many labels")
            for key, value in labels.items():
                check_label(key, value)
        except (ConfigError, *DAMAGED) as e:
            raise Refused(f"not labels: {e}", code="bad") from None
        # A node that has just joined asks before it has heard what was signed for it: what counts is what is known here.
        signed = self.signed(peer.id)
        labels = {**signed, **labels}
        if labels == signed:
            self.wishes.pop(peer.id, None)
        elif peer.id not in self.wishes or self.wishes[peer.id].labels != labels:
            # Made up here: a node that could reckon its code could find other labels, or be another node, with the same.
            code = secrets.token_hex(4)
            self.wishes[peer.id] = LabelWish(code, peer.id, labels)
            log.info("%s would like other labels: edge-agent node approve %s", peer.name, code)
        return b""


def _labels(node_id: str, body: bytes) -> NodeLabels | None:
    try:
        return msgspec.json.decode(body, type=NodeLabels)
    except DAMAGED as e:
        log.warning("the labels of %s are not readable: %s", node_id, e)
        return None
