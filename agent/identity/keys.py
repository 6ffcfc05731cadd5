"""Keys of nodes and meshes: ECDSA on P-256 with SHA-256, and the ids derived from them."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from agent.errors import IdentityError

ID_LENGTH = 20
"""Characters of a node id or mesh id: 100 bits, too many to find a second key with the same id."""

ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


def generate_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS#8 PEM, for a 0600 file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Parse a PEM key; raises IdentityError unless it is a P-256 private key."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError("the private key is damaged", hint="restore the state folder from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the private key is not an ECDSA P-256 key")
    return key


def spki(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """The public key as SubjectPublicKeyInfo DER (RFC 5280)."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def node_id_of(public_key: ec.EllipticCurvePublicKey) -> str:
    """The node id: the first 20 characters of the lower-case base32 of the SHA-256 of the SPKI DER."""
    digest = hashlib.sha256(spki(public_key)).digest()
    return base64.b32encode(digest).decode().lower()[:ID_LENGTH]
