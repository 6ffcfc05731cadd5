"""Renews this node's certificate at any operator once half of its life is over."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass

from agent import PROTOCOL
from agent.errors import EdgeError, IdentityError, JoinRefused
from agent.identity import wire
from agent.identity.certificates import LIFE
from agent.identity.desk import AdmissionDesk
from agent.identity.joining import first_session, open_admission
from agent.identity.keys import key_from_pem
from agent.identity.sealing import unseal
from agent.identity.store import Identity, IdentityStore
from agent.identity.trust import PeerIdentity, Trust

logger = logging.getLogger(__name__)

VERB = "enrol.renew"
_CHECK = 3600.0
"""Seconds between two checks of the clock, and between attempts while no operator answers."""

Call = Callable[[str, str, bytes], Awaitable[bytes]]
"""(node id, verb, body) -> answer, as Mesh.call."""


def is_due(identity: Identity, now: float | None = None) -> bool:
    """Whether less than half of a certificate's life is left."""
    return identity.not_after - (time.time() if now is None else now) < LIFE / 2


def renewal_request(identity: Identity) -> wire.Renew:
    """The request, signed by this node's key."""
    signature = identity.sign(wire.renewal_bytes(identity.ca_der, identity.cert_der))
    return wire.Renew(identity.cert_der, signature)


def renewal_handler(desk: AdmissionDesk) -> Callable[[PeerIdentity, bytes], Awaitable[bytes]]:
    """The operator's handler of the mesh verb `enrol.renew`; it raises IdentityError or JoinRefused for a
    refusal.
    """

    async def renew(peer: PeerIdentity, body: bytes) -> bytes:
        request = wire.decode_request(body) if len(body) <= wire.MAX_FRAME else None
        if not isinstance(request, wire.Renew):
            raise JoinRefused("the request is not a renewal", code="join.garbage")
        answer = desk.renew(request)
        logger.debug("%s asked for the renewal", peer.name)
        return wire.encode(answer)

    return renew


def accept_renewal(raw: bytes, identity: Identity, store: IdentityStore) -> Identity:
    """Check an operator's answer and keep the new certificate; raises IdentityError."""
    answer = wire.decode_answer(raw)
    if isinstance(answer, wire.Refusal):
        raise IdentityError(answer.message, code=answer.code, hint=answer.hint)
    if not isinstance(answer, wire.Admitted):
        raise IdentityError("the answer is not a certificate")
    trust = Trust(identity.ca_der)
    admission = open_admission(answer, trust)
    peer = trust.peer(admission.certificate)
    if peer.id != identity.node_id:
        raise IdentityError("the new certificate is for another node")
    ca_key = unseal(identity.key, admission.sealed_ca_key) if admission.sealed_ca_key else None
    if ca_key is not None:
        key_from_pem(ca_key)
    return store.renewed(identity, admission.certificate, ca_key)


async def renew_at(addresses: Sequence[str], identity: Identity, store: IdentityStore) -> Identity:
    """Renew at enrolment servers, for a node whose certificate has expired and that the mesh no longer links.

    Raises JoinRefused, Unreachable, IdentityError.
    """
    trust = Trust(identity.ca_der)

    def same_mesh(other: Trust) -> None:
        if other.ca_der != trust.ca_der:
            raise JoinRefused("this is another mesh", code="join.foreign")

    async with aclosing(await first_session(addresses, wire.Hello(protocol=PROTOCOL), same_mesh)) as session:
        answer = await session.ask(renewal_request(identity))
    return accept_renewal(wire.encode(answer), identity, store)


@dataclass(eq=False)
class Renewal:
    """Keeps this node's certificate fresh: `run` until cancelled, or `renew` at once (after a rename or a
    promotion).

    `operators()` are the ids of live operators; `on_renewed` gets the new identity; `addresses()` are
    enrolment servers to try when no operator is linked; `interval` is in seconds.
    """

    identity: Identity
    store: IdentityStore
    _: KW_ONLY
    call: Call
    operators: Callable[[], list[str]]
    on_renewed: Callable[[Identity], None]
    addresses: Callable[[], list[str]] = list
    interval: float = _CHECK

    async def run(self) -> None:
        """Renew whenever it is due, until cancelled."""
        while True:
            if is_due(self.identity):
                try:
                    await self.renew()
                except EdgeError as error:
                    logger.warning("the certificate could not be renewed: %s (%s)", error.message, error.code)
            await asyncio.sleep(self.interval * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load only

    async def renew(self) -> Identity:
        """Renew now; raises the last operator's refusal, or IdentityError when there is no operator."""
        identity = await self._ask()
        self.identity = identity
        self.on_renewed(identity)
        logger.info("the certificate is renewed")
        return identity

    async def _ask(self) -> Identity:
        me = self.identity
        if me.ca_key_pem is not None:
            return self.store.renewed(me, me.issue(me.key.public_key(), role=me.role, name=me.name))
        request, last = wire.encode(renewal_request(me)), None
        operators = self.operators()
        random.shuffle(operators)
        for operator in operators:
            try:
                return accept_renewal(await self.call(operator, VERB, request), me, self.store)
            except EdgeError as error:
                last = error
        if addresses := self.addresses():
            return await renew_at(addresses, me, self.store)
        raise last or IdentityError("no operator is online to renew the certificate", hint="switch an operator on")
