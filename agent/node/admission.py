"""Joining through this node, and the renewal of this node's certificate."""

from __future__ import annotations

import logging
from typing import Any

from agent.config import Config
from agent.errors import EdgeError, JoinRefused, Unreachable
from agent.identity import (
    AdmissionDesk,
    EnrolmentServer,
    Identity,
    IdentityStore,
    PeerIdentity,
    Renewal,
    TokenBook,
    renew_at,
)
from agent.mesh import Mesh, local_addresses, parse_address
from agent.model.node import ROLE_OPERATOR
from agent.node.renewed_certificate import RenewedCertificate
from agent.node.signed_labels import SignedLabels

log = logging.getLogger(__name__)

MAX_ADDRESSES = 16
"""Addresses that a joining or a renewing node gets at most."""


class Admission:
    """The parts of admission, and their questions to the mesh. `desk` is None on a node that is not an operator."""

    def __init__(self, config: Config, identity: Identity, mesh: Mesh, labels: SignedLabels) -> None:
        self._config, self._mesh, self._labels, self._state = config.mesh, mesh, labels, config.state
        self.tokens = TokenBook(config.state / "tokens.json")
        self.desk: AdmissionDesk | None = None
        if identity.ca_key_pem is not None:
            self.desk = AdmissionDesk(
                identity,
                mesh.trust,
                self.tokens,
                name_taken=self._name_taken,
                on_joined=self._joined,
                endpoints=self._mesh_addresses,
                standing=self._standing,
            )
        self.enrolment = EnrolmentServer(
            identity,
            host=config.mesh.listen,
            port=config.mesh.enrol_port,
            desk=self.desk,
            relay=self._relay,
            certificate_of=self._certificate_of,
        )
        self.certificate = RenewedCertificate(mesh, self.enrolment)
        self.renewal = Renewal(
            identity,
            IdentityStore(config.state / "identity"),
            call=mesh.call,
            operators=self._operators,
            on_renewed=self.certificate.renewed,
            addresses=self._enrol_addresses_of_others,
        )

    @property
    def identity(self) -> Identity:
        """The present identity of this node; each renewal gives it another one."""
        return self.renewal.identity

    def join_line(self, **options: Any) -> str:
        """The command for the next device, with a new token; `options` are those of `TokenBook.issue`."""
        return f"edge-agent serve --join {self.tokens.issue(self.identity, self.enrol_addresses(), **options).encode()}"

    def enrol_addresses(self) -> list[str]:
        """`host:port` of this node's enrolment server."""
        return self._own_addresses(self._config.enrol_port)[:MAX_ADDRESSES]

    async def ask_standing(self) -> None:
        """Ask an enrolment server for a renewal; raises IdentityError (`identity.removed`) where this node was removed."""
        store = IdentityStore(self._state / "identity")
        await renew_at(self._enrol_addresses_of_others(), self.identity, store)

    async def serve_renew(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `node.renew`: an operator asks this node to renew its certificate now."""
        if peer.is_operator:
            await self.renewal.renew()
        return b""

    # -- calls of the desk and the enrolment server --------------------------------------------------------------------

    def _operators(self) -> list[str]:
        """The ids of the live operators."""
        return [n.id for n in self._mesh.live() if n.role == ROLE_OPERATOR]

    def _certificate_of(self, node_id: str) -> bytes | None:
        """A node's certificate (DER); None where it is not known."""
        return next((n.certificate for n in self._mesh.known() if n.id == node_id), b"") or None

    def _name_taken(self, name: str, node_id: str) -> bool:
        """Whether a node other than this one has the name."""
        return any(n.name == name and n.id != node_id for n in self._mesh.known())

    def _standing(self, peer: PeerIdentity) -> tuple[str, str]:
        """The name and the role that a node's renewed certificate gets."""
        return self._labels.name_of(peer.id) or peer.name, peer.role

    async def _joined(self, node_id: str, name: str, role: str, labels: dict[str, str]) -> None:
        """Sign the labels of a node that the desk admitted."""
        await self._labels.sign(node_id, labels, name)
        log.info("%s (%s) joined as %s with %s", name, node_id, role, labels or "no labels")

    async def _relay(self, operator: str, body: bytes) -> bytes:
        """Send a joiner's request to the operator with this id, or to any where it is empty; raises EdgeError."""
        error: EdgeError = Unreachable("no operator of the mesh is online", hint="start the node that issued the token")
        for node in [operator] if operator else self._operators():
            try:
                return await self._mesh.call(node, "enrol.redeem", body, timeout=10.0)
            except JoinRefused:
                raise
            except EdgeError as e:
                error = e
        raise error

    def _mesh_addresses(self) -> list[str]:
        """`host:port` by which a new node reaches the mesh: this node first, then other live nodes."""
        others = [e for n in self._mesh.live() if n.id != self._mesh.me.id for e in n.endpoints[:2]]
        return (self._own_addresses(self._config.port) + others)[:MAX_ADDRESSES]

    def _enrol_addresses_of_others(self) -> list[str]:
        """`host:port` of other enrolment servers, where they use the same port: for an expired certificate."""
        hosts = {str(e.address).rpartition(":")[0] for e in self._mesh.endpoints()}
        return [f"{h}:{self._config.enrol_port}" for h in sorted(hosts)][:MAX_ADDRESSES]

    def _own_addresses(self, port: int) -> list[str]:
        if self._config.advertise:
            hosts = [parse_address(a, port).rpartition(":")[0] for a in self._config.advertise]
            return [f"{h}:{port}" for h in hosts]
        return local_addresses(self._config.listen, port)
