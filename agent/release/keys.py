"""The release key: an ECDSA P-256 key and an Ed25519 key that are made together and sign together.

P-256 with SHA-256 is what nodes pin and what `openssl dgst` and apk check; Ed25519 in the form of signify(1) and usign(1) is
what OpenWrt's opkg and usign check. The private file holds both as PKCS#8 PEM.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from agent.errors import ConfigError, IdentityError
from agent.release.reading import read_file

MAX_KEY = 16 * 1024
"""Most bytes of a file of keys."""
MAX_SIGNATURE = 512
"""Most bytes of a signature file."""
_ECDSA = ec.ECDSA(hashes.SHA256())
_COMMENT = "untrusted comment: "
_BLOCK = re.compile(
    rb"-----BEGIN (?:ENCRYPTED )?PRIVATE KEY-----\r?\n[A-Za-z0-9+/=\r\n]+-----END (?:ENCRYPTED )?PRIVATE KEY-----"
)


@dataclass(frozen=True)
class PublicKey:
    """The public half that nodes pin. `pem` is in one form: the same key always gives the same bytes."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Raises IdentityError (`release.key`) unless it is the PEM of a P-256 public key."""
        try:
            key = load_pem_public_key(pem) if len(pem) <= MAX_KEY else None
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise IdentityError(
                "the release's public key is not the PEM of a P-256 key",
                hint="use the release.pub that edge-agent release keygen wrote",
                code="release.key",
            )
        return cls(key)

    @classmethod
    def from_file(cls, path: Path) -> PublicKey:
        """As `from_pem`; also raises NotFound (`release.file`) and OSError."""
        return cls.from_pem(read_file(path, MAX_KEY))

    @cached_property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo as PEM."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def id(self) -> str:
        """`sha256:` and the hexadecimal SHA-256 of the SubjectPublicKeyInfo (DER)."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def check(self, data: bytes, signature: bytes) -> None:
        """Check an ECDSA signature (DER) over `data`; raises IdentityError (`release.signature`)."""
        try:
            self.key.verify(signature, data, _ECDSA)
        except InvalidSignature:
            raise _forged(f"the key {self.id[:23]}…") from None


@dataclass(frozen=True)
class UsignKey:
    """The Ed25519 public half, in usign's form."""

    key: ed25519.Ed25519PublicKey

    @classmethod
    def from_text(cls, text: bytes) -> UsignKey:
        """Raises IdentityError (`release.key`) unless it is a public key in usign's form."""
        try:
            raw = _unwrap(text, 42)
            found = cls(ed25519.Ed25519PublicKey.from_public_bytes(raw[10:]))
        except ValueError:
            found, raw = None, b""
        if found is None or raw[2:10] != found.number:
            raise IdentityError(
                "this is not the usign public key of a release",
                hint="use the release.usign.pub that edge-agent release keygen wrote",
                code="release.key",
            )
        return found

    @cached_property
    def raw(self) -> bytes:
        """The 32 bytes of the key."""
        return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @cached_property
    def number(self) -> bytes:
        """The 8 bytes by which usign names the key: derived from it, so that they cannot be chosen."""
        return hashlib.sha256(self.raw).digest()[:8]

    @cached_property
    def text(self) -> bytes:
        """The file's content; its name in OpenWrt's /etc/opkg/keys is `number` in hexadecimal."""
        return _wrap(f"release key {self.number.hex()}", b"Ed" + self.number + self.raw)

    def check(self, data: bytes, signature: bytes) -> None:
        """Check a signature in usign's form over `data`; raises IdentityError (`release.signature`)."""
        try:
            raw = _unwrap(signature, 74)
            if raw[2:10] != self.number:
                raise ValueError
            self.key.verify(raw[10:], data)
        except (ValueError, InvalidSignature):
            raise _forged(f"the usign key {self.number.hex()}") from None


@dataclass(frozen=True)
class SigningKey:
    """Both private halves. Only the owner's machine that makes releases has this; never a node."""

    p256: ec.EllipticCurvePrivateKey
    ed: ed25519.Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """A new pair."""
        return cls(ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> SigningKey:
        """Raises ConfigError (`release.passphrase`) for a missing or wrong passphrase, IdentityError (`release.key`)
        for any other content than the two private keys.
        """
        parts = _BLOCK.findall(pem) if len(pem) <= MAX_KEY else []
        try:
            keys: list[Any] = [load_pem_private_key(part, passphrase) for part in parts[:2]]
        except TypeError as error:
            raise _passphrase("has a passphrase" if passphrase is None else "has no passphrase") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if passphrase is not None:
                raise _passphrase("does not open with this passphrase") from error
            keys = []
        if len(parts) == len(keys) == 2 and isinstance(keys[0], ec.EllipticCurvePrivateKey) and _is_ed(keys[1]):
            return cls(keys[0], keys[1])
        raise IdentityError(
            "this is not the private file of a release key",
            hint="use the release.key that edge-agent release keygen wrote",
            code="release.key",
        )

    @classmethod
    def from_file(cls, path: Path, passphrase: Callable[[], bytes]) -> SigningKey:
        """As `from_pem`; `passphrase` is called only where the file is encrypted.

        Also raises ConfigError (`release.key-mode`) where others may read the file, NotFound (`release.file`) and OSError.
        """
        pem = read_file(path, MAX_KEY)
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by other users", hint=f"chmod 600 {path}", code="release.key-mode")
        return cls.from_pem(pem, passphrase() if b"BEGIN ENCRYPTED" in pem else None)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """The private file, for mode 0600; encrypted where there is a passphrase."""
        lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return b"".join(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock) for key in (self.p256, self.ed))

    @cached_property
    def public(self) -> PublicKey:
        """The half that nodes pin."""
        return PublicKey(self.p256.public_key())

    @cached_property
    def usign(self) -> UsignKey:
        """The half for usign."""
        return UsignKey(self.ed.public_key())

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over `data`, DER."""
        return self.p256.sign(data, _ECDSA)

    def sign_for_usign(self, data: bytes) -> bytes:
        """Ed25519 over `data`, in usign's form."""
        number = self.usign.number
        return _wrap(f"signed by key {number.hex()}", b"Ed" + number + self.ed.sign(data))


def _is_ed(key: Any) -> bool:
    return isinstance(key, ed25519.Ed25519PrivateKey)


def _wrap(comment: str, raw: bytes) -> bytes:
    return f"{_COMMENT}{comment}\n{base64.b64encode(raw).decode()}\n".encode()


def _unwrap(text: bytes, length: int) -> bytes:
    """The bytes of a file in usign's form; raises ValueError."""
    lines = text.decode("ascii").splitlines() if len(text) <= MAX_SIGNATURE else []
    if len(lines) != 2 or not lines[0].startswith(_COMMENT):
        raise ValueError("not in usign's form")
    try:
        raw = base64.b64decode(lines[1], validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if len(raw) != length or raw[:2] != b"Ed":
        raise ValueError("not in usign's form")
    return raw


def _forged(key: str) -> IdentityError:
    return IdentityError(
        f"the signature is not by {key} over these bytes",
        hint="fetch the release again from where its owner publishes it; if it repeats, somebody changed it",
        code="release.signature",
    )


def _passphrase(why: str) -> ConfigError:
    return ConfigError(
        f"the private file of the release key {why}",
        hint="give the passphrase at the terminal, or its file with --passphrase-file",
        code="release.passphrase",
    )
