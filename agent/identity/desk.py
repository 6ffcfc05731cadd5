"""The operator's desk: admits or refuses new nodes, and signs their certificates."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import ConfigError, EdgeError, IdentityError, JoinRefused
from agent.identity import wire
from agent.identity.certificates import clean_name, csr_key
from agent.identity.dsse import sign_envelope
from agent.identity.keys import node_id_of, spki
from agent.identity.pending import PendingBook, PendingNode
from agent.identity.sealing import seal
from agent.identity.store import Identity
from agent.identity.tokens import MAX_LABELS, TokenBook, are_labels
from agent.identity.trust import PeerIdentity, Trust
from agent.model.labels import check_label
from agent.model.node import ROLE_MEMBER, ROLE_OPERATOR

logger = logging.getLogger(__name__)

OnJoined = Callable[[str, str, str, dict[str, str]], Awaitable[None]]
"""(node id, name, role, labels): publishes the labels document; the joiner gets its answer after this."""

_body = msgspec.msgpack.Decoder(wire.JoinBody)


class AdmissionDesk:
    """Redeems tokens, holds pending nodes, and renews certificates, on an operator.

    `name_taken(name, node_id)` says whether a node other than this one has the name. `endpoints()` are the
    mesh addresses that a new node dials first. `standing(peer)` gives name and role for a renewed
    certificate, as in the last one by default.
    """

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        tokens: TokenBook,
        *,
        name_taken: Callable[[str, str], bool],
        on_joined: OnJoined,
        endpoints: Callable[[], list[str]],
        standing: Callable[[PeerIdentity], tuple[str, str]] | None = None,
    ) -> None:
        """Raises IdentityError on a node that has no CA key."""
        if identity.ca_key_pem is None:
            raise IdentityError("this node is not an operator and cannot admit nodes")
        self.identity = identity
        self.tokens = tokens
        self.pending = PendingBook()
        self._trust = trust
        self._name_taken, self._on_joined, self._endpoints = name_taken, on_joined, endpoints
        self._standing = standing or (lambda peer: (peer.name, peer.role))
        self._given: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()

    async def handle(self, request: wire.Request) -> wire.Answer:
        """Answer a Join, Commit, Poll or Renew; raises EdgeError for a refusal, without logging it."""
        match request:
            case wire.Join():
                return await self._join(request)
            case wire.Commit():
                node = self.pending.commit(request.commitment)
                return wire.Committed(self.identity.cert_der, node.operator_nonce)
            case wire.Poll():
                return self._poll(request)
            case wire.Renew():
                return self.renew(request)
            case _:
                raise JoinRefused("the operator does not support this request", code="join.garbage")

    async def approve(
        self, code: str, *, role: str = ROLE_MEMBER, labels: Mapping[str, str] | None = None, name: str | None = None
    ) -> PendingNode:
        """Admit the pending node with this code; `labels` override its detected labels.

        Raises NotFound, ConfigError.
        """
        for key, value in (labels or {}).items():
            check_label(key, value)
        async with self._one_at_a_time:
            node = self.pending.find(code)
            if node.key is None:
                raise IdentityError("the pending node has not sent its key")
            node.name = self._free_name(name or node.name, node.node_id)
            node.labels = _merged(node.labels, labels or {})
            node.envelope = await self._admit(node.key, role, node.name, node.labels)
        return node

    def deny(self, code: str) -> PendingNode:
        """Refuse the pending node with this code; raises NotFound."""
        node = self.pending.find(code)
        node.denied = True
        return node

    def renew(self, request: wire.Renew) -> wire.Admitted:
        """A newer certificate for the key of an old one, expired or not; raises IdentityError when its node
        was removed.
        """
        signed = wire.renewal_bytes(self._trust.ca_der, request.certificate)
        peer = self._trust.verify(request.certificate, request.signature, signed, allow_expired=True)
        name, role = self._standing(peer)
        logger.info("renewed the certificate of %s (%s)", name, peer.id)
        return wire.Admitted(self._sign(peer.public_key, role, name, {}))

    async def _join(self, request: wire.Join) -> wire.Answer:
        try:
            body = _body.decode(request.body)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise JoinRefused("the request cannot be decoded", code="join.garbage") from error
        record = self.tokens.get(body.token)
        expected = wire.join_mac(record.secret, spki(self.identity.key.public_key()), request.body)
        if not hmac.compare_digest(expected, request.mac):
            raise JoinRefused(
                "the token's secret is wrong",
                code="join.wrong",
                hint="copy the whole word that edge-agent token create printed",
            )
        key, node_id = self._joiner(body.csr, body.labels)
        async with self._one_at_a_time:
            name = record.redeemed.get(node_id) or self._free_name(body.name, node_id)
            try:
                record = await asyncio.to_thread(self.tokens.redeem, body.token, node_id, name)
            except OSError as error:
                raise EdgeError(
                    f"the operator cannot write its token book: {error.strerror}", hint="check the operator's disk"
                ) from error
            labels = _merged(body.labels, record.labels)
            return wire.Admitted(await self._admit(key, record.role, record.redeemed[node_id], labels))

    def _poll(self, request: wire.Poll) -> wire.Answer:
        key, _ = self._joiner(request.csr, request.labels)
        node = self.pending.reveal(
            self.identity.ca_der,
            request.commitment,
            request.nonce,
            key=key,
            name=clean_name(request.name),
            labels=request.labels,
        )
        if node.denied:
            raise JoinRefused("an operator denied this node", code="join.denied")
        return wire.Admitted(node.envelope) if node.envelope else wire.Waiting()

    async def _admit(self, key: ec.EllipticCurvePublicKey, role: str, name: str, labels: dict[str, str]) -> bytes:
        node_id = node_id_of(key)
        envelope = self._sign(key, role, name, labels)
        self._given[name] = node_id
        await self._on_joined(node_id, name, role, labels)
        logger.info("admitted %s (%s) as %s", name, node_id, role)
        return envelope

    def _sign(self, key: ec.EllipticCurvePublicKey, role: str, name: str, labels: dict[str, str]) -> bytes:
        secret = self.identity.ca_key_pem if role == ROLE_OPERATOR else None
        admission = wire.Admission(
            node=node_id_of(key),
            certificate=self.identity.issue(key, role=role, name=name),
            labels=labels,
            endpoints=self._endpoints(),
            sealed_ca_key=seal(key, secret) if secret else b"",
        )
        return sign_envelope(self.identity, wire.ADMISSION_TYPE, wire.encode(admission))

    def _free_name(self, wish: str, node_id: str) -> str:
        base = clean_name(wish)[:36]
        name, n = base, 1
        while self._given.get(name, node_id) != node_id or self._name_taken(name, node_id):
            n += 1
            name = f"{base}-{n}"
        return name

    def _joiner(self, csr: bytes, labels: dict[str, str]) -> tuple[ec.EllipticCurvePublicKey, str]:
        """The key and the id of a node that may ask to join."""
        if not are_labels(labels):
            raise JoinRefused(
                "the node's labels are not valid", code="join.labels", hint=f"at most {MAX_LABELS}, key=value"
            )
        try:
            key = csr_key(csr)
        except IdentityError as error:
            raise JoinRefused(error.message, code="join.csr") from error
        if (node_id := node_id_of(key)) in self._trust.removed:
            raise JoinRefused(
                "this node was removed from the mesh",
                code="join.removed",
                hint="join again under a new identity: remove identity, documents and mesh from its state folder",
            )
        return key, node_id


def _merged(detected: Mapping[str, str], signed: Mapping[str, str]) -> dict[str, str]:
    labels = {**detected, **signed}
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"a node can have {MAX_LABELS} labels, not {len(labels)}")
    return labels
