"""This node's own identity, and the folder that keeps it over restarts.

`key.pem` is made at the first start. `member.pem` holds the node certificate and after it the CA's, in one
file so that a power cut leaves both or neither. `ca-key.pem` is on operators only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import IdentityError
from agent.files import read_private, write_private
from agent.identity import certificates
from agent.identity.keys import ECDSA_SHA256, generate_key, key_from_pem, key_to_pem, node_id_of
from agent.identity.trust import Trust
from agent.model.node import ROLE_OPERATOR


@dataclass(frozen=True)
class Identity:
    """This node as a member of its mesh: an immutable snapshot. Renewal and adoption give a new one."""

    node_id: str
    name: str
    mesh_id: str
    role: str
    not_after: float
    cert_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    cert_der: bytes = field(repr=False)
    ca_der: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    ca_key_pem: bytes | None = field(repr=False, default=None)

    @property
    def is_operator(self) -> bool:
        """Whether this node may sign work and admit nodes."""
        return self.role == ROLE_OPERATOR

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The private key, parsed once."""
        return key_from_pem(self.key_pem)

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over `data`, DER."""
        return self.key.sign(data, ECDSA_SHA256)

    def issue(
        self, public_key: ec.EllipticCurvePublicKey, *, role: str, name: str, life: float = certificates.LIFE
    ) -> bytes:
        """A node certificate (DER) for this key, valid for `life` seconds; raises IdentityError on a node
        that has no CA key.
        """
        if self.ca_key_pem is None:
            raise IdentityError("this node cannot admit others", hint="ask an operator of the mesh")
        ca = certificates.load_der(self.ca_der)
        key = key_from_pem(self.ca_key_pem)
        made = certificates.issue(ca, key, public_key, role=role, name=name, life=life)
        return made.public_bytes(Encoding.DER)


class IdentityStore:
    """Keeps the identity under `folder`; files 0600, written atomically. One agent for each folder."""

    def __init__(self, folder: Path) -> None:
        """`folder` is `<state>/identity`; made when first written to."""
        self.folder = folder

    def load(self) -> Identity | None:
        """The identity of the last run, None where this node is in no mesh yet; raises IdentityError when it
        is damaged.
        """
        key, member = read_private(self.folder / "key.pem"), read_private(self.folder / "member.pem")
        if member is None:
            return None
        if key is None:
            raise IdentityError(
                f"{self.folder} has a certificate but no key", hint="restore the state folder, or join again"
            )
        certificate, ca = _split(member, self.folder / "member.pem")
        return self._identity(key, certificate, ca, read_private(self.folder / "ca-key.pem"))

    def pending_key(self) -> ec.EllipticCurvePrivateKey:
        """This node's key, made at the first call and kept from then on."""
        pem = read_private(self.folder / "key.pem")
        if pem is None:
            pem = key_to_pem(generate_key())
            write_private(self.folder / "key.pem", pem)
        return key_from_pem(pem)

    def create_mesh(self, name: str) -> Identity:
        """Make a new mesh whose first operator is this node; `name` is made a proper node name.

        Raises IdentityError where this node is in a mesh already.
        """
        if self.load() is not None:
            raise IdentityError("this node is in a mesh already", hint="leave it first by removing the state folder")
        key, ca_key = self.pending_key(), generate_key()
        ca = certificates.make_ca(ca_key)
        certificate = certificates.issue(
            ca, ca_key, key.public_key(), role=ROLE_OPERATOR, name=certificates.clean_name(name)
        )
        der = Encoding.DER
        return self.adopt(key, certificate.public_bytes(der), ca.public_bytes(der), ca_key_pem=key_to_pem(ca_key))

    def adopt(
        self,
        key: ec.EllipticCurvePrivateKey,
        cert_der: bytes,
        ca_der: bytes,
        name: str | None = None,
        *,
        ca_key_pem: bytes | None = None,
    ) -> Identity:
        """Check and keep a certificate under its CA, at joining and at each renewal; returns the new
        identity.

        Raises IdentityError when they do not fit together or the certificate is for another name than `name`.
        """
        identity = self._identity(key_to_pem(key), cert_der, ca_der, ca_key_pem)
        if name is not None and identity.name != name:
            raise IdentityError(f"the certificate is for {identity.name}, not for {name}")
        if ca_key_pem is not None:
            write_private(self.folder / "ca-key.pem", ca_key_pem)
        write_private(self.folder / "key.pem", identity.key_pem)
        write_private(self.folder / "member.pem", identity.cert_pem + identity.ca_pem)
        return identity

    def renewed(self, identity: Identity, cert_der: bytes, ca_key_pem: bytes | None = None) -> Identity:
        """Keep a newer certificate for the same key; raises IdentityError when it does not fit."""
        return self.adopt(identity.key, cert_der, identity.ca_der, ca_key_pem=ca_key_pem or identity.ca_key_pem)

    def _identity(self, key_pem: bytes, cert_der: bytes, ca_der: bytes, ca_key_pem: bytes | None) -> Identity:
        key, trust = key_from_pem(key_pem), Trust(ca_der)
        peer = trust.peer(cert_der, allow_expired=True)
        if peer.id != node_id_of(key.public_key()):
            raise IdentityError("the certificate is for another key", hint="restore the state folder, or join again")
        if ca_key_pem is not None and node_id_of(key_from_pem(ca_key_pem).public_key()) != trust.mesh_id:
            raise IdentityError("the CA key is of another mesh", hint="restore the state folder from a backup")
        return Identity(
            node_id=peer.id,
            name=peer.name,
            mesh_id=trust.mesh_id,
            role=peer.role,
            not_after=peer.not_after,
            cert_pem=_pem(cert_der),
            ca_pem=_pem(ca_der),
            cert_der=cert_der,
            ca_der=ca_der,
            key_pem=key_pem,
            ca_key_pem=ca_key_pem,
        )


def _pem(der: bytes) -> bytes:
    return certificates.load_der(der).public_bytes(Encoding.PEM)


def _split(member: bytes, path: Path) -> tuple[bytes, bytes]:
    """The node's certificate and the CA's (DER)."""
    try:
        found = x509.load_pem_x509_certificates(member)
    except ValueError as error:
        raise IdentityError(f"{path} is damaged", hint="restore the state folder, or join again") from error
    if len(found) != 2:
        raise IdentityError(f"{path} should hold two certificates, not {len(found)}", hint="restore it, or join again")
    return found[0].public_bytes(Encoding.DER), found[1].public_bytes(Encoding.DER)
