"""Certificates: a CA for each mesh, and node certificates directly under it (X.509, RFC 5280).

A node certificate's subject holds what the mesh needs to know: CN = node id, OU = role, O = mesh id,
pseudonym = the friendly name at the time of issue. The mesh id is the CA's key id, made like a node id.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from datetime import UTC

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import IdentityError
from agent.identity.keys import node_id_of
from agent.model.node import ROLE_MEMBER, ROLE_OPERATOR

LIFE = 400 * 86400.0
"""Seconds that a node certificate lasts."""

MAX_CERTIFICATE = 4096
"""Largest certificate that is parsed, in bytes of DER; ours have about 600."""

ROLES = frozenset({ROLE_OPERATOR, ROLE_MEMBER})

_NOT_BEFORE = dt.datetime(1970, 1, 1, tzinfo=UTC)
_NO_END = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280, 4.1.2.5: the date for a certificate without a well-defined end."""

_CLOCK_FLOOR = 1_793_491_200.0
"""1 November 2026: the validity counts from here where the operator's clock shows an earlier date."""

_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


def clean_name(text: str) -> str:
    """A friendly name made from any text: lower-case letters, digits and single dashes, 40 characters at
    most.
    """
    return _NOT_A_NAME.sub("-", text.lower()).strip("-")[:40].strip("-") or "node"


def make_ca(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A self-signed CA certificate without an end, named after the mesh id."""
    public = key.public_key()
    mesh = node_id_of(public)
    name = _name({NameOID.ORGANIZATION_NAME: mesh, NameOID.COMMON_NAME: f"edge-agent mesh {mesh}"})
    return (
        _builder(name, name, public, _NO_END, ca=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def issue(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    *,
    role: str,
    name: str,
    life: float = LIFE,
) -> x509.Certificate:
    """A node certificate for this key under the CA, valid from 1970 until `life` seconds from now.

    Raises IdentityError for an unknown role or a name that `clean_name` would change.
    """
    if role not in ROLES:
        raise IdentityError(f"{role} is not a role", hint="roles are operator and member")
    if name != clean_name(name):
        raise IdentityError(f"{name!r} is not a node name", hint=f"for example {clean_name(name)}")
    node, mesh = node_id_of(public_key), node_id_of(public_key_of(ca))
    subject = _name(
        {
            NameOID.ORGANIZATION_NAME: mesh,
            NameOID.ORGANIZATIONAL_UNIT_NAME: role,
            NameOID.PSEUDONYM: name,
            NameOID.COMMON_NAME: node,
        }
    )
    end = dt.datetime.fromtimestamp(int(max(time.time(), _CLOCK_FLOOR) + life), UTC)
    return (
        _builder(subject, ca.subject, public_key, end, ca=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{node}.{mesh}.internal")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key_of(ca)), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def make_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate signing request (PKCS#10 DER) that proves possession of the key; role and name are not
    asked for here.
    """
    subject = _name({NameOID.COMMON_NAME: node_id_of(key.public_key())})
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def csr_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a signing request; raises IdentityError unless it is P-256 and the request proves
    possession.
    """
    try:
        request = x509.load_der_x509_csr(der)
        key, proven = request.public_key(), request.is_signature_valid
    except Exception as error:
        raise IdentityError("the signing request is damaged") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1) or not proven:
        raise IdentityError("the signing request is not signed by a P-256 key")
    return key


def load_der(der: bytes) -> x509.Certificate:
    """Parse a certificate; raises IdentityError when it is too large, damaged, or its key is not P-256."""
    if len(der) > MAX_CERTIFICATE:
        raise IdentityError(f"a certificate of {len(der)} bytes is too large")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except Exception as error:
        # The parser raises other errors besides ValueError, for example for an unknown version.
        raise IdentityError("the certificate is damaged") from error
    public_key_of(certificate)
    return certificate


def public_key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The certificate's P-256 key; raises IdentityError for another kind of key."""
    try:
        key = certificate.public_key()
    except Exception as error:
        raise IdentityError("the certificate's key is damaged") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the certificate's key is not ECDSA P-256")
    return key


def subject_field(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    """The one value of a subject field; raises IdentityError when it is missing or repeated."""
    try:
        values = certificate.subject.get_attributes_for_oid(oid)
    except ValueError as error:
        raise IdentityError("the certificate's subject is damaged") from error
    if len(values) != 1 or not isinstance(values[0].value, str):
        raise IdentityError("the certificate is not from an edge-agent mesh")
    return values[0].value


def _name(fields: dict[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in fields.items()])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: dt.datetime, *, ca: bool
) -> x509.CertificateBuilder:
    """The part that a CA's and a node's certificate have in common."""
    usage = x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )
