"""The labels of nodes: operators sign them, in one document of kind `label` for each node."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field

import msgspec

from agent.errors import ConfigError, EdgeError, Refused
from agent.identity import PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.documents import LABEL
from agent.model.event import now
from agent.model.labels import RESERVED, check_label
from agent.model.node import ROLE_OPERATOR

log = logging.getLogger(__name__)

MAX_LABELS = 64


class NodeLabels(msgspec.Struct, omit_defaults=True):
    """The body of a `label` document, named by the node's id."""

    labels: dict[str, str]
    name: str = ""


@dataclass
class LabelWish:
    """Labels that a node asks for; an operator confirms them by `code`. `since` is RFC 3339."""

    code: str
    node: str
    labels: dict[str, str]
    since: str = field(default_factory=now)


class SignedLabels:
    """The labels that operators signed: reads them, signs new labels, and asks operators for them."""

    def __init__(self, mesh: Mesh) -> None:
        self.wishes: dict[str, LabelWish] = {}
        """The wishes of other nodes, by node id."""
        self.unsigned: dict[str, str] = {}
        """Labels that this node asks for and that no operator has signed yet."""
        self._mesh = mesh
        self._read: dict[str, tuple[bytes, NodeLabels | None]] = {}

    def signed(self, node_id: str) -> dict[str, str]:
        """The labels that an operator signed for a node."""
        found = self._document(node_id)
        return dict(found.labels) if found else {}

    def name_of(self, node_id: str) -> str:
        """The name that an operator signed with the labels, empty where there is none."""
        found = self._document(node_id)
        return found.name if found else ""

    def names(self) -> dict[str, str]:
        """The names of the admitted nodes by their ids, as operators signed them; without removed nodes."""
        admitted = (d.name for d in self._mesh.documents.list(LABEL) if not self._mesh.is_removed(d.name))
        return {node: name for node in admitted if (name := self.name_of(node))}

    def _document(self, node_id: str) -> NodeLabels | None:
        document = self._mesh.documents.get(LABEL, node_id)
        if document is None:
            return None
        known = self._read.get(node_id)
        if known is None or known[0] is not document.body:
            known = self._read[node_id] = (document.body, _labels(node_id, document.body))
        return known[1]

    async def sign(self, node_id: str, labels: dict[str, str], name: str = "") -> dict[str, str]:
        """Sign a node's labels; raises Refused on a node that is not an operator, ConfigError for a bad label."""
        if len(labels) > MAX_LABELS:
            raise ConfigError(
                f"more than {MAX_LABELS} labels on one node", hint="remove some with `node label NAME KEY-`"
            )
        for key, value in labels.items():
            check_label(key, value)
        body = NodeLabels(dict(sorted(labels.items())), name or self.name_of(node_id))
        await self._mesh.documents.put(LABEL, node_id, msgspec.json.encode(body))
        self.wishes.pop(node_id, None)
        self._mesh.reconsider(node_id)
        return body.labels

    async def change(self, node_id: str, add: dict[str, str], drop: list[str]) -> dict[str, str]:
        """Add and drop some of a node's labels."""
        now_ = self.signed(node_id)
        return await self.sign(node_id, {k: v for k, v in {**now_, **add}.items() if k not in drop})

    # -- wishes -------------------------------------------------------------------------------------------------------

    async def want(self, wanted: dict[str, str]) -> None:
        """Give this node these labels: an operator signs them at once, another node asks the live operators."""
        me = self._mesh.me
        mine = self.signed(me.id)
        missing = {k: v for k, v in wanted.items() if mine.get(k) != v and k not in RESERVED}
        self.unsigned = {}
        if not missing:
            return
        if me.role == ROLE_OPERATOR:
            await self.change(me.id, missing, [])
            return
        self.unsigned = missing
        body = msgspec.json.encode({**mine, **missing})
        for node in self._mesh.live():
            if node.role == ROLE_OPERATOR and node.id != me.id:
                try:
                    await self._mesh.call(node.id, "label.wish", body)
                except EdgeError as e:
                    log.debug("the request for labels did not reach %s: %s", node.name, e)

    async def serve_wish(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `label.wish`: remember the labels that a node asks for; raises Refused for a malformed request."""
        try:
            labels = msgspec.json.decode(body, type=dict[str, str])
            if len(labels) > MAX_LABELS:
                raise ConfigError("too many labels")
            for key, value in labels.items():
                check_label(key, value)
        except (ConfigError, *DAMAGED) as e:
            raise Refused(f"not labels: {e}", code="bad") from None
        # A node that has just joined asks before it gets the document with its labels; the document here counts.
        signed = self.signed(peer.id)
        labels = {**signed, **labels}
        if labels == signed:
            self.wishes.pop(peer.id, None)
        elif peer.id not in self.wishes or self.wishes[peer.id].labels != labels:
            # Random: from a code that follows from the request, a node could find another request with the same code.
            code = secrets.token_hex(4)
            self.wishes[peer.id] = LabelWish(code, peer.id, labels)
            log.info("%s asks for other labels: edge-agent node approve %s", peer.name, code)
        return b""


def _labels(node_id: str, body: bytes) -> NodeLabels | None:
    try:
        return msgspec.json.decode(body, type=NodeLabels)
    except DAMAGED as e:
        log.warning("the labels of %s are not readable: %s", node_id, e)
        return None
