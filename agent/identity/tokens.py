"""Tokens: one word to copy that lets a device join, and the issuer's book of them.

A token is `edge1.` and base64url of a msgpack array and of the first four bytes of its SHA-256. These four
bytes show whether a part of the token was lost in copying. Only the issuer can redeem the token. The issuer's book
decides; the fields in the token give the joiner the addresses to try, and its role and labels.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from agent.errors import ConfigError, IdentityError, JoinRefused, NotFound
from agent.files import read_private, write_private
from agent.identity.certificates import ROLES
from agent.identity.store import Identity
from agent.model.decoding import DAMAGED
from agent.model.labels import check_label
from agent.model.node import ROLE_MEMBER

PREFIX = "edge1."
LIFETIME = 3600.0
"""Default life of a token in seconds."""

MAX_TEXT = 8192
MAX_ADDRESSES = 16
MAX_LABELS = 64
_SECRET, _HASH, _CHECK = 16, 32, 4
_MAX_TOKENS = 1000
_KEEP_ENDED = 7 * 86400.0
_HINT = "copy the whole word that edge-agent token create printed"


class Token(msgspec.Struct, frozen=True, array_like=True):
    """The content of a token's text. `ca` is the SHA-256 of the CA certificate's DER, `expires` in Unix
    seconds.
    """

    ca: bytes
    issuer: str
    issuer_name: str
    addresses: tuple[str, ...]
    id: str
    secret: bytes
    expires: int
    uses: int
    role: str
    labels: dict[str, str]

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Token(id={self.id!r}, issuer={self.issuer!r}, role={self.role!r})"

    def encode(self) -> str:
        """The token as one word. It is a secret: show it on a terminal, never in a log."""
        packed = msgspec.msgpack.encode(self)
        packed += hashlib.sha256(packed).digest()[:_CHECK]
        return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token, ignoring white space from copying; raises JoinRefused for another text."""
        word = "".join(text[: MAX_TEXT + 1].split())
        if len(word) > MAX_TEXT or not word.startswith(PREFIX) or not word.isascii():
            raise JoinRefused("this is not a token", code="join.token", hint=_HINT)
        coded = word[len(PREFIX) :]
        try:
            packed = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
            content, check = packed[:-_CHECK], packed[-_CHECK:]
            if hashlib.sha256(content).digest()[:_CHECK] != check:
                raise JoinRefused("the token is not complete", code="join.token", hint=_HINT)
            token = msgspec.msgpack.decode(content, type=cls)
        except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise JoinRefused("the token is damaged", code="join.token", hint=_HINT) from error
        if token.encode() != word or not token._sound():
            raise JoinRefused("the token is damaged", code="join.token", hint=_HINT)
        return token

    def _sound(self) -> bool:
        return (
            len(self.ca) == _HASH
            and len(self.secret) == _SECRET
            and 0 < len(self.id) <= 64
            and 0 < len(self.issuer) <= 64
            and 0 < len(self.addresses) <= MAX_ADDRESSES
            and all(is_address(a) for a in self.addresses)
            and self.role in ROLES
            and are_labels(self.labels)
        )


class TokenRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A token in the issuer's book. `redeemed` maps the ids of the nodes that joined with it to their names."""

    id: str
    secret: bytes
    role: str
    labels: dict[str, str]
    uses: int
    created: float
    expires: float
    revoked: bool = False
    redeemed: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without the secret."""
        return f"TokenRecord(id={self.id!r}, role={self.role!r}, state={self.state!r})"

    @property
    def state(self) -> str:
        """`open`, `used`, `expired` or `revoked`."""
        if self.revoked:
            return "revoked"
        if len(self.redeemed) >= self.uses:
            return "used"
        return "open" if time.time() < self.expires else "expired"


class TokenBook:
    """The issuer's tokens, in one 0600 file written atomically before any answer leaves. Calls block for a
    disk write.
    """

    def __init__(self, path: Path) -> None:
        """Reads `path`; raises IdentityError when it is damaged."""
        self._path = path
        self._lock = threading.Lock()
        raw = read_private(path, limit=16 * 1024 * 1024)
        try:
            found = msgspec.json.decode(raw, type=list[TokenRecord]) if raw else []
        except DAMAGED as error:
            raise IdentityError(
                f"{path} is damaged", hint="remove it: open tokens are lost, joined nodes stay"
            ) from error
        self._records = {r.id: r for r in found}

    def issue(
        self,
        identity: Identity,
        addresses: Sequence[str],
        *,
        role: str = ROLE_MEMBER,
        labels: Mapping[str, str] | None = None,
        uses: int = 1,
        lifetime: float = LIFETIME,
    ) -> Token:
        """A new token of this operator; `addresses` are `host:port` of enrolment servers, `lifetime` is in
        seconds.

        Raises ConfigError for values out of range, IdentityError on a node that cannot admit others.
        """
        if identity.ca_key_pem is None:
            raise IdentityError("this node cannot issue tokens", hint="create the token on an operator")
        if not addresses:
            raise ConfigError(
                "this device has no address that others reach",
                hint="connect it to a network or set mesh.advertise, then edge-agent token create",
            )
        labels = dict(labels or {})
        for key, value in labels.items():
            check_label(key, value)
        record = TokenRecord(
            id=secrets.token_hex(5),
            secret=secrets.token_bytes(_SECRET),
            role=role,
            labels=labels,
            uses=uses,
            created=time.time(),
            expires=time.time() + lifetime,
        )
        token = Token(
            ca=hashlib.sha256(identity.ca_der).digest(),
            issuer=identity.node_id,
            issuer_name=identity.name,
            addresses=tuple(addresses),
            id=record.id,
            secret=record.secret,
            expires=int(record.expires),
            uses=uses,
            role=role,
            labels=labels,
        )
        if not token._sound() or not 1 <= uses <= 10_000 or not 1 <= lifetime <= 366 * 86400:
            raise ConfigError(
                "the token's settings are invalid",
                hint="1 to 16 addresses as HOST:PORT, 1 to 10000 uses, at most a year, role member or operator",
            )
        with self._lock:
            self._drop_ended()
            if len(self._records) >= _MAX_TOKENS:
                raise ConfigError(
                    f"there are {_MAX_TOKENS} open tokens",
                    hint="revoke some: edge-agent token list, edge-agent token revoke",
                )
            self._save(self._records | {record.id: record})
        return token

    def list(self) -> list[TokenRecord]:
        """All tokens, the newest first; ended tokens stay for a week."""
        with self._lock:
            return sorted(self._records.values(), key=lambda r: -r.created)

    def revoke(self, token_id: str) -> TokenRecord:
        """End a token; nodes that joined with it stay. Raises NotFound."""
        with self._lock:
            record = self._records.get(token_id)
            if record is None:
                raise NotFound(f"there is no token {token_id}", hint="edge-agent token list shows them")
            record = msgspec.structs.replace(record, revoked=True)
            self._save(self._records | {token_id: record})
            return record

    def get(self, token_id: str) -> TokenRecord:
        """The record, for checking a joiner's proof; raises JoinRefused when it is not in the book."""
        record = self._records.get(token_id)
        if record is None:
            raise JoinRefused(
                "this operator does not know the token",
                code="join.unknown",
                hint="create a new token: edge-agent token create",
            )
        return record

    def redeem(self, token_id: str, node_id: str, name: str) -> TokenRecord:
        """Use the token up once for this node, whose proof was checked; `record.redeemed[node_id]` is then
        its name.

        A repeated call for the same node is not a second use and returns the first name. Raises JoinRefused.
        """
        with self._lock:
            record = self.get(token_id)
            if record.revoked:
                raise JoinRefused("the token was revoked", code="join.revoked", hint="ask for a new token")
            if node_id in record.redeemed:
                return record
            if record.state == "used":
                raise JoinRefused(
                    "the token was used already",
                    code="join.used",
                    hint="each device needs its own token: edge-agent token create",
                )
            if record.state == "expired":
                raise JoinRefused(
                    "the token has expired", code="join.expired", hint="ask for a new token: edge-agent token create"
                )
            record = msgspec.structs.replace(record, redeemed=record.redeemed | {node_id: name})
            self._save(self._records | {token_id: record})
            return record

    def _drop_ended(self) -> None:
        line = time.time() - _KEEP_ENDED
        self._records = {k: r for k, r in self._records.items() if r.state == "open" or r.expires > line}

    def _save(self, records: dict[str, TokenRecord]) -> None:
        write_private(self._path, msgspec.json.encode(list(records.values())))
        self._records = records


def is_address(text: str) -> bool:
    """Whether this is `host:port`, with IPv6 hosts in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or len(host) > 255 or not (port.isascii() and port.isdigit() and len(port) <= 5):
        return False
    return 0 < int(port) < 65536 and not any(c.isspace() or c in "/@\0" for c in host) and host.isprintable()


def split_address(text: str) -> tuple[str, int]:
    """Host and port of an address; raises ConfigError."""
    if not is_address(text):
        raise ConfigError(f"{text!r} is not an address", hint="write HOST:PORT, IPv6 as [ADDRESS]:PORT")
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def are_labels(labels: Mapping[str, str]) -> bool:
    """Whether these are valid labels, and not too many."""
    try:
        for key, value in labels.items():
            check_label(key, value)
    except ConfigError:
        return False
    return len(labels) <= MAX_LABELS
