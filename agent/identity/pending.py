"""Nodes that wait for approval without a token, and the short code by which a person recognises them.

The code is made from both sides' nonces, the node's key and the CA. The node commits to its nonce and key
before it sees the operator's nonce. A man in the middle needs two equal codes for two different keys or CAs;
the commitment leaves him one blind guess in 2^40 instead of a search. (Source: short authentication strings as
in ZRTP, RFC 6189, 4.4.1.1.)
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import JoinRefused, NotFound
from agent.identity.keys import node_id_of, spki

MAX_PENDING = 32
MAX_COMMITTED = 256
"""Most nodes between Commit and Poll: they are cheap, and forgotten after a minute."""

_AGE_COMMITTED = 60.0
_AGE_SILENT = 900.0
"""Seconds since its last Poll after which a waiting node is forgotten."""
_AGE_RESTARTED = 10.0
"""Seconds since its last Poll after which a waiting node that asks with another code is forgotten under the old one: it polls every two."""

_NONCE = 16


def new_nonce() -> bytes:
    """16 random bytes."""
    return secrets.token_bytes(_NONCE)


def commitment_of(ca_der: bytes, key: ec.EllipticCurvePublicKey, nonce: bytes) -> bytes:
    """The commitment that a node sends before it learns the operator's nonce."""
    return hashlib.sha256(b"edge-agent commit 1\0" + _bound(ca_der, key) + nonce).digest()


def code_of(ca_der: bytes, key: ec.EllipticCurvePublicKey, nonce: bytes, operator_nonce: bytes) -> str:
    """The code that both sides show, like `k7qx-3mfa`."""
    digest = hashlib.sha256(b"edge-agent code 1\0" + _bound(ca_der, key) + nonce + operator_nonce).digest()
    text = base64.b32encode(digest).decode().lower()
    return f"{text[:4]}-{text[4:8]}"


def _bound(ca_der: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    return hashlib.sha256(ca_der).digest() + hashlib.sha256(spki(key)).digest()


@dataclass
class PendingNode:
    """A node that waits for approval. `asked` and `seen` are monotonic seconds of the operator."""

    commitment: bytes = field(repr=False)
    operator_nonce: bytes = field(repr=False)
    asked: float
    seen: float
    code: str = ""
    node_id: str = ""
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    key: ec.EllipticCurvePublicKey | None = field(default=None, repr=False)
    denied: bool = False
    envelope: bytes = field(default=b"", repr=False)
    """The admission, once approved."""

    @property
    def open(self) -> bool:
        """Whether it has shown its key and no operator has decided yet."""
        return bool(self.code) and not self.denied and not self.envelope


class PendingBook:
    """The waiting nodes of one operator, in memory: after a restart they ask again by themselves, with new
    codes.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._nodes: dict[bytes, PendingNode] = {}

    def commit(self, commitment: bytes) -> PendingNode:
        """Note a commitment, or find it again; raises JoinRefused when too many wait."""
        self._forget()
        if (known := self._nodes.get(commitment)) is not None:
            return known
        if len(commitment) != 32:
            raise JoinRefused("the commitment is not a SHA-256", code="join.garbage")
        if sum(not n.code for n in self._nodes.values()) >= MAX_COMMITTED:
            raise JoinRefused("too many nodes are asking", code="join.busy", hint="try again in a minute")
        now = time.monotonic()
        node = PendingNode(commitment, new_nonce(), now, now)
        self._nodes[commitment] = node
        return node

    def reveal(
        self,
        ca_der: bytes,
        commitment: bytes,
        nonce: bytes,
        *,
        key: ec.EllipticCurvePublicKey,
        name: str,
        labels: dict[str, str],
    ) -> PendingNode:
        """The node behind a commitment, made visible at its first Poll; raises JoinRefused when it does not
        fit.
        """
        self._forget()
        node = self._nodes.get(commitment)
        if node is None:
            raise JoinRefused(
                "this operator has forgotten the node", code="join.forgotten", hint="the node asks again by itself"
            )
        if len(nonce) != _NONCE or commitment_of(ca_der, key, nonce) != commitment:
            raise JoinRefused("the key does not match the commitment", code="join.commitment")
        if not node.code:
            if sum(bool(n.code) for n in self._nodes.values()) >= MAX_PENDING:
                raise JoinRefused(
                    f"{MAX_PENDING} nodes wait already",
                    code="join.busy",
                    hint="approve or deny some of them: edge-agent node pending",
                )
            node.key, node.node_id, node.name, node.labels = key, node_id_of(key), name, labels
            node.code = code_of(ca_der, key, nonce, node.operator_nonce)
        node.seen = time.monotonic()
        return node

    def list(self) -> list[PendingNode]:
        """The nodes that wait for a decision, the longest first."""
        self._forget()
        return sorted((n for n in self._nodes.values() if n.open), key=lambda n: n.asked)

    def find(self, code: str) -> PendingNode:
        """The waiting node with this code, however it was typed; raises NotFound."""
        plain = "".join(c for c in code.lower() if c.isalnum())
        for node in self.list():
            if node.code.replace("-", "") == plain:
                return node
        raise NotFound(
            f"no node waits with the code {code}",
            hint="type the code that the new node shows; if edge-agent node pending lists another code, the connection is intercepted",
        )

    def _forget(self) -> None:
        now = time.monotonic()
        self._nodes = {
            k: n for k, n in self._nodes.items() if now - n.seen < (_AGE_SILENT if n.code else _AGE_COMMITTED)
        }
        self._nodes = {k: n for k, n in self._nodes.items() if not (n.open and self._is_old(n))}

    def _is_old(self, node: PendingNode) -> bool:
        """Whether the node was restarted since and asks with another code, or was admitted by it."""
        later = (n for n in self._nodes.values() if n.node_id == node.node_id and n.seen > node.seen)
        return any(n.envelope or n.seen - node.seen > _AGE_RESTARTED for n in later)
