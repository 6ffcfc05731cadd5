"""Checks certificates and signatures: those under the mesh's CA are valid, except those of removed nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import IdentityError
from agent.identity.certificates import ROLES, load_der, public_key_of, subject_field
from agent.identity.keys import ECDSA_SHA256, node_id_of
from agent.model.node import ROLE_OPERATOR

_CACHED = 1024
"""Certificates kept parsed: more than any mesh has nodes; only certificates that the CA signed are kept."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Another node as its certificate proves it. `name` is the name at the time of issue; `not_after` is in
    Unix seconds.
    """

    id: str
    name: str
    role: str
    not_after: float
    certificate: bytes = field(repr=False, compare=False)
    public_key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def is_operator(self) -> bool:
        """Whether it may sign work and admit nodes."""
        return self.role == ROLE_OPERATOR


class Trust:
    """Checks certificates and signatures against one CA. `removed` holds the ids of removed nodes and may be
    changed at any time.

    Certificates that passed are kept parsed, so that `verify` costs little more than the ECDSA check itself.
    """

    def __init__(self, ca_der: bytes) -> None:
        """`ca_der` is the CA certificate; raises IdentityError for anything else."""
        self._ca = load_der(ca_der)
        self.ca_der = ca_der
        self.mesh_id = check_ca(self._ca)
        self.removed: set[str] = set()
        self._peers: dict[bytes, PeerIdentity] = {}

    def peer(self, cert_der: bytes, *, allow_expired: bool = False) -> PeerIdentity:
        """The node of this certificate; raises IdentityError when it is foreign, expired, or its node was
        removed.

        `allow_expired` is for renewal and for documents, which outlive the certificate of their signer.
        """
        peer = self._peers.get(cert_der)
        if peer is None:
            peer = self._parse(bytes(cert_der))
            if len(self._peers) >= _CACHED:
                self._peers.pop(next(iter(self._peers)), None)
            self._peers[peer.certificate] = peer
        if peer.id in self.removed:
            raise IdentityError(
                f"the node {peer.name} was removed from the mesh", code="identity.removed", node=peer.id
            )
        if not allow_expired and time.time() > peer.not_after:
            raise IdentityError(
                f"the certificate of {peer.name} has expired",
                code="identity.expired",
                hint="the node renews it by itself once it reaches an operator; check the clocks of both",
                node=peer.id,
            )
        return peer

    def verify(self, cert_der: bytes, signature: bytes, data: bytes, *, allow_expired: bool = False) -> PeerIdentity:
        """Check that `signature` (ECDSA P-256, SHA-256, DER) over `data` is by this certificate's key, and
        return the node.

        Raises IdentityError.
        """
        peer = self.peer(cert_der, allow_expired=allow_expired)
        try:
            peer.public_key.verify(signature, data, ECDSA_SHA256)
        except InvalidSignature as error:
            raise IdentityError(
                f"the signature does not match {peer.name}", code="identity.signature", node=peer.id
            ) from error
        return peer

    def _parse(self, der: bytes) -> PeerIdentity:
        certificate = load_der(der)
        try:
            certificate.verify_directly_issued_by(self._ca)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise IdentityError(
                "the certificate is of another mesh",
                code="identity.foreign",
                hint="join this mesh with a token of one of its operators",
            ) from error
        key = public_key_of(certificate)
        node, role = (
            subject_field(certificate, NameOID.COMMON_NAME),
            subject_field(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
        )
        if node != node_id_of(key) or role not in ROLES or _is_ca(certificate):
            raise IdentityError("the certificate does not belong to a node", code="identity.foreign")
        return PeerIdentity(
            id=node,
            name=subject_field(certificate, NameOID.PSEUDONYM),
            role=role,
            not_after=certificate.not_valid_after_utc.timestamp(),
            certificate=der,
            public_key=key,
        )


def check_ca(certificate: x509.Certificate) -> str:
    """The mesh id of a CA certificate; raises IdentityError unless it is a sound, self-signed CA named after
    its key.
    """
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise IdentityError("the mesh's CA certificate is not self-signed") from error
    mesh = node_id_of(public_key_of(certificate))
    if not _is_ca(certificate) or subject_field(certificate, NameOID.ORGANIZATION_NAME) != mesh:
        raise IdentityError("the mesh's CA certificate is not a CA of an edge-agent mesh")
    return mesh


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except ValueError as error:
        raise IdentityError("the certificate's extensions are damaged") from error
