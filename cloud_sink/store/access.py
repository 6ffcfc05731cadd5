"""Access: keys of buildings, and users with their sessions and login links. Secrets are stored only as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select, update

from agent.errors import ConfigError, NotFound
from agent.model.envelope import SINK_KEY, key_digest
from cloud_sink.clock import DAY, SECOND, now_ms
from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Key, LoginLink, Session, User

SESSION_LIFE = 30 * DAY
LINK_LIFE = 3600 * SECOND
PASSWORD_MIN = 10
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash(secrets.token_hex(16))
"""The hash that is checked for unknown names, so that the time of an answer does not reveal which names exist."""
# Each hash takes 64 MiB and a whole core, so at most two run at a time.
_HASHING = threading.BoundedSemaphore(2)


class Visitor(msgspec.Struct, frozen=True):
    """A logged-in browser."""

    user: int
    name: str
    has_password: bool
    csrf: str
    digest: str


class Access(Transactions):
    """Keys, users and sessions."""

    def create_key(self, name: str) -> str:
        """Create a key and return its text, which is not stored."""
        key_id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(8))
        text = f"esk_{key_id}_{secrets.token_urlsafe(32)}"
        with self.write() as s:
            s.add(Key(id=key_id, name=name[:100], digest=key_digest(text), created=now_ms()))
        return text

    def all_keys(self) -> list[Key]:
        """All keys, oldest first."""
        with self.read() as s:
            return list(s.scalars(select(Key).order_by(Key.created)))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key; raises NotFound."""
        with self.write() as s:
            key = s.get(Key, key_id)
            if key is None:
                raise NotFound(f"there is no key {key_id}", hint="`edge-sink key list` lists the keys")
            key.revoked = key.revoked or now_ms()

    def key(self, text: str) -> Key | None:
        """The key with this text; None if it is unknown or revoked."""
        if not (m := SINK_KEY.match(text)):
            return None
        key = self.key_by_id(m[1])
        return key if key is not None and hmac.compare_digest(key.digest, key_digest(text)) else None

    def stored_key(self, key_id: str) -> Key | None:
        """The key with this id, revoked or not."""
        with self.read() as s:
            return s.get(Key, key_id)

    def key_by_id(self, key_id: str) -> Key | None:
        """The key with this id; None if it is unknown or revoked. Stores the time of use, once a minute."""
        key = self.stored_key(key_id)
        if key is None or key.revoked:
            return None
        if now_ms() - key.used > 60 * SECOND:
            with self.write() as s:
                s.execute(update(Key).where(Key.id == key_id).values(used=now_ms()))
        return key

    def bind_key(self, key_id: str, mesh: str, ca: str) -> Key:
        """Bind a key to the first mesh that uses it; returns the key as it is afterwards."""
        with self.write() as s:
            key = s.get_one(Key, key_id)
            if not key.mesh:
                key.mesh = mesh
            if key.mesh == mesh and ca and not key.ca:
                key.ca = ca
            return key

    def users(self) -> list[User]:
        """All users, by name."""
        with self.read() as s:
            return list(s.scalars(select(User).order_by(User.name)))

    def add_user(self, name: str, password: str = "") -> int:
        """Add a user and return its id; raises ConfigError when the name is taken or the password too short."""
        if not name or not name.isprintable() or len(name) > 64:
            raise ConfigError("a user's name has 1 to 64 printable characters")
        hashed = _hashed(password) if password else ""
        with self.write() as s:
            if s.scalar(select(User.id).where(User.name == name)) is not None:
                raise ConfigError(f"user {name} exists already")
            user = User(name=name, password=hashed, created=now_ms())
            s.add(user)
            s.flush()
            return user.id

    def remove_user(self, name: str) -> None:
        """Remove a user and log out all their browsers; raises NotFound."""
        with self.write() as s:
            s.delete(_user(s.scalar(select(User).where(User.name == name)), name))

    def set_password(self, name: str, password: str, *, keep: str = "") -> None:
        """Set a password and log out all other browsers; `keep` is the session that stays.

        Raises ConfigError, NotFound.
        """
        hashed = _hashed(password)
        with self.write() as s:
            user = _user(s.scalar(select(User).where(User.name == name)), name)
            user.password = hashed
            s.execute(delete(Session).where(Session.user == user.id, Session.digest != keep))
            s.execute(delete(LoginLink).where(LoginLink.user == user.id))

    def check_password(self, name: str, password: str) -> int | None:
        """The user's id if the password is right, else None. Takes as long for an unknown name."""
        with self.read() as s:
            user = s.scalar(select(User).where(User.name == name))
        try:
            with _HASHING:
                _HASHER.verify(user.password if user and user.password else _NOBODY, password[:1024])
        except (VerificationError, InvalidHashError):
            return None
        return user.id if user and user.password else None

    def login_link(self, name: str) -> str:
        """The secret of a new one-time link for this user, valid for an hour; raises NotFound."""
        secret = secrets.token_urlsafe(32)
        with self.write() as s:
            user = _user(s.scalar(select(User).where(User.name == name)), name)
            s.execute(delete(LoginLink).where(LoginLink.expires < now_ms()))
            s.add(LoginLink(digest=_digest(secret), user=user.id, expires=now_ms() + LINK_LIFE))
        return secret

    def redeem(self, secret: str) -> int | None:
        """The user's id of a one-time link, which this deletes; None if it is unknown or expired."""
        with self.write() as s:
            link = s.get(LoginLink, _digest(secret), with_for_update=True)
            if link is None:
                return None
            s.delete(link)
            return link.user if link.expires >= now_ms() else None

    def open_session(self, user: int) -> str:
        """Open a session and return its cookie."""
        cookie = secrets.token_urlsafe(32)
        with self.write() as s:
            s.execute(delete(Session).where(Session.expires < now_ms()))
            s.add(
                Session(
                    digest=_digest(cookie),
                    user=user,
                    csrf=secrets.token_urlsafe(24),
                    created=now_ms(),
                    expires=now_ms() + SESSION_LIFE,
                )
            )
        return cookie

    def visitor(self, cookie: str) -> Visitor | None:
        """The visitor of this cookie's session; None if the session does not exist or has expired."""
        with self.read() as s:
            found = s.execute(
                select(Session, User).join(User, User.id == Session.user).where(Session.digest == _digest(cookie))
            ).first()
        if found is None or found[0].expires < now_ms():
            return None
        session, user = found
        return Visitor(user.id, user.name, bool(user.password), session.csrf, session.digest)

    def close_session(self, digest: str) -> None:
        """Log out one browser."""
        with self.write() as s:
            s.execute(delete(Session).where(Session.digest == digest))


def _user(user: User | None, name: str) -> User:
    if user is None:
        raise NotFound(f"there is no user {name}", hint="`edge-sink user list` lists the users")
    return user


def _hashed(password: str) -> str:
    if len(password) < PASSWORD_MIN:
        raise ConfigError(f"a password must have at least {PASSWORD_MIN} characters")
    if len(password) > 1024:
        raise ConfigError("a password must have at most 1024 characters")
    with _HASHING:
        return _HASHER.hash(password)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
