"""The certificates of other nodes, from their presence records or requests, and the nodes that know ours."""

from __future__ import annotations

from collections import OrderedDict

from agent.errors import IdentityError
from agent.identity import PeerIdentity, Trust
from agent.mesh.wire import Sealed

MAX_KNOWN = 1024


class Certificates:
    """Verifies what nodes sign. A certificate is kept only once a signature by its key was valid."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._ours: OrderedDict[str, str] = OrderedDict()

    def has(self, node: str) -> bool:
        """Whether a node's certificate is known."""
        return node in self._known

    def verify(self, node: str, sealed: Sealed, domain: bytes) -> PeerIdentity:
        """The node that sealed it; raises IdentityError unless that is `node` and `node` is a member."""
        if node in self.trust.removed:
            raise IdentityError(f"{node} was removed from this mesh", code="identity.removed")
        certificate = sealed.certificate or self._known.get(node, b"")
        if not certificate:
            raise IdentityError(f"the certificate of {node} is not known", code="identity.unknown")
        peer = self.trust.verify(certificate, sealed.signature, domain + sealed.content)
        if peer.id != node:
            raise IdentityError(f"signed by {peer.id} in the name of {node}", code="identity.forged")
        if self._known.get(node) != certificate:
            self._known[node] = certificate
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return peer

    def knows_ours(self, node: str, boot: str) -> bool:
        """Whether that node, in that boot, is known to have our certificate."""
        return bool(boot) and self._ours.get(node) == boot

    def note_ours(self, node: str, boot: str) -> None:
        """Note that this node, in this boot, accepted a request of ours: it has our certificate."""
        self._ours[node] = boot
        if len(self._ours) > MAX_KNOWN:
            self._ours.popitem(last=False)

    def forget_ours(self) -> None:
        """Forget which nodes have our certificate: it changed, so requests carry it again."""
        self._ours.clear()
