"""Signatures in files of apk-tools 3: the signed index of a release.

Form, as apk-tools' apk-v3(5) describes it: `ADB.`, a schema, then blocks. A block is a 32-bit little-endian word (2 bits type,
30 bits length with the word), its content and zeros up to 8 bytes. Block 0 has the data; block 1 a signature: version 0, the
number of the hash (4: SHA-512), 16 bytes of the key's id, and ECDSA with SHA-512 over the schema, these 18 bytes and the
SHA-512 of the data.
"""

from __future__ import annotations

import hashlib
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import ConfigError, IdentityError
from agent.release.keys import PublicKey, SigningKey

MAX_INDEX = 1024 * 1024
_MAGIC, _DATA, _SIGNATURE = b"ADB.", 0, 1
_ECDSA = ec.ECDSA(hashes.SHA512())
_SHA512 = 4


def block(kind: int, content: bytes) -> bytes:
    """One block of this type (0 to 3) with its padding."""
    return struct.pack("<I", kind << 30 | len(content) + 4) + content + bytes(-(len(content) + 4) % 8)


def key_id(key: PublicKey) -> bytes:
    """The 16 bytes by which apk names a key: the start of the SHA-512 of its point."""
    return hashlib.sha512(key.key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).digest()[:16]


def sign_adb(raw: bytes, key: SigningKey) -> bytes:
    """The file with this key's signature in the place of any other; raises ConfigError (`release.index`)."""
    head, data, _ = _parts(raw)
    header = bytes((0, _SHA512)) + key_id(key.public)
    signature = key.p256.sign(_signed(head, header, data), _ECDSA)
    return head + block(_DATA, data) + block(_SIGNATURE, header + signature)


def check_adb(raw: bytes, key: PublicKey) -> None:
    """Check that this key signed the file; raises ConfigError (`release.index`), IdentityError (`release.signature`)."""
    head, data, signatures = _parts(raw)
    for signature in signatures:
        header = signature[:18]
        if header == bytes((0, _SHA512)) + key_id(key):
            try:
                key.key.verify(signature[18:], _signed(head, header, data), _ECDSA)
            except InvalidSignature:
                continue
            return
    raise IdentityError(
        f"apk's index is not signed by the key {key.id[:23]}…",
        hint="sign the release again with edge-agent release sign",
        code="release.signature",
    )


def _signed(head: bytes, header: bytes, data: bytes) -> bytes:
    return head[4:8] + header + hashlib.sha512(data).digest()


def _parts(raw: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """The 8 bytes before the blocks, the data, and the signatures; nothing else may be in an index."""
    found: list[tuple[int, bytes]] = []
    place = 8
    while 8 <= place < len(raw) <= MAX_INDEX and len(raw) - place >= 4:
        (word,) = struct.unpack_from("<I", raw, place)
        length = word & 0x3FFFFFFF
        if length < 4 or place + length > len(raw):
            break
        found.append((word >> 30, raw[place + 4 : place + length]))
        place += (length + 7) // 8 * 8
    kinds = [kind for kind, _ in found]
    if place != len(raw) or raw[:4] != _MAGIC or kinds != [_DATA, *[_SIGNATURE] * (len(kinds) - 1)]:
        raise ConfigError("this is not an index of apk", hint="make it again with make packages", code="release.index")
    return raw[:8], found[0][1], [content for _, content in found[1:]]
