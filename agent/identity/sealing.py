"""Encryption for one node: ECIES from standard parts (ECDH on P-256, HKDF-SHA-256, AES-256-GCM).

It carries the CA's key to a new operator, over members that relay.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import IdentityError
from agent.identity.keys import generate_key

_POINT = 65
_NONCE = bytes(12)
"""Each key seals one message, so the nonce may be constant."""


def seal(recipient: ec.EllipticCurvePublicKey, data: bytes) -> bytes:
    """`data`, encrypted for the holder of the private key; it does not prove a sender."""
    once = generate_key()
    point = _point(once.public_key())
    key = _derive(once.exchange(ec.ECDH(), recipient), point, _point(recipient))
    return point + AESGCM(key).encrypt(_NONCE, data, None)


def unseal(private: ec.EllipticCurvePrivateKey, sealed: bytes) -> bytes:
    """The data that was sealed for this key; raises IdentityError for anything else."""
    point = sealed[:_POINT]
    try:
        once = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        key = _derive(private.exchange(ec.ECDH(), once), point, _point(private.public_key()))
        return AESGCM(key).decrypt(_NONCE, sealed[_POINT:], None)
    except (ValueError, InvalidTag) as error:
        raise IdentityError("the sealed message is damaged or for another node") from error


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(shared: bytes, sender: bytes, recipient: bytes) -> bytes:
    info = b"edge-agent seal 1" + sender + recipient
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(shared)
