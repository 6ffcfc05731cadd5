"""The sink's tables. Times are milliseconds since 1970 by the sink's clock; an event's own time is stored as sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite's AUTOINCREMENT needs a column of type INTEGER."""


class Base(DeclarativeBase):
    """All tables; constraints are named so that later migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Key(Base):
    """One building's key, as its SHA-256. `ca` is the mesh's CA, stored at the first hello."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    created: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[int] = mapped_column(BigInteger, default=0)
    revoked: Mapped[int] = mapped_column(BigInteger, default=0)
    mesh: Mapped[str] = mapped_column(String(64), default="")
    ca: Mapped[str] = mapped_column(Text, default="")


class Alert(Base):
    """One alert as it came, and the fields for searches. `root` is the incident."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("mesh", "event_id"),
        Index(None, "mesh", "root"),
        Index(None, "received"),
        {"sqlite_autoincrement": True},
    )
    seq: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    mesh: Mapped[str] = mapped_column(String(64))
    event_id: Mapped[str] = mapped_column(String(64))
    root: Mapped[str] = mapped_column(String(64))
    node: Mapped[str] = mapped_column(String(128))
    camera: Mapped[str] = mapped_column(String(128))
    received: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(Integer)
    via: Mapped[str] = mapped_column(String(16))
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    trace: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    certificate: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    photos: Mapped[list[Photo]] = relationship(
        order_by="Photo.position", lazy="selectin", cascade="all, delete-orphan", passive_deletes=True
    )


class Photo(Base):
    """A photo of an alert; `digest` is the SHA-256 of the re-encoded file, and its name on disk."""

    __tablename__ = "photos"
    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    alert: Mapped[int] = mapped_column(ForeignKey("alerts.seq", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(128))
    cid: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)


class Building(Base):
    """The newest status summary of a mesh."""

    __tablename__ = "buildings"
    mesh: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    node: Mapped[str] = mapped_column(String(128), default="")
    time: Mapped[str] = mapped_column(String(40), default="")
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    seen: Mapped[int] = mapped_column(BigInteger, default=0)
    nodes: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    every: Mapped[int] = mapped_column(Integer, default=900)
    """Seconds after which the building sends the next summary at the latest."""

    @property
    def silent_after(self) -> int:
        """The ms after which a building that sends nothing is silent: ten minutes, or as long as two summaries take."""
        return max(600, 2 * self.every + 60) * 1000


class User(Base):
    """A person who may look at the page; without a password only a login link works."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str] = mapped_column(String(200), default="")
    created: Mapped[int] = mapped_column(BigInteger)


class Session(Base):
    """A browser that is logged in; `digest` is the SHA-256 of its cookie."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int] = mapped_column(BigInteger)


class LoginLink(Base):
    """A one-time link from the terminal; `digest` is the SHA-256 of its secret."""

    __tablename__ = "login_links"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires: Mapped[int] = mapped_column(BigInteger)


class Notice(Base):
    """The state of one incident or report on one channel; these rows are the notifier's queue.

    `shown` is the newest seq in the message, `wanted` the newest stored seq. If they differ, the message needs an edit.
    `state` is `idle` or `posting` (a first message is under way and may or may not have arrived). `report` is 0 for an
    incident; a report goes from `shown` 0 to `wanted` 1.
    """

    __tablename__ = "notices"
    __table_args__ = (UniqueConstraint("channel", "mesh", "root"), Index(None, "due"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    channel: Mapped[str] = mapped_column(String(64))
    mesh: Mapped[str] = mapped_column(String(64))
    root: Mapped[str] = mapped_column(String(64))
    wanted: Mapped[int] = mapped_column(BigInteger)
    shown: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(String(16), default="idle")
    message: Mapped[str] = mapped_column(String(64), default="")
    files: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    due: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str] = mapped_column(String(300), default="")
    report: Mapped[int] = mapped_column(BigInteger, default=0)


class Trouble(Base):
    """A warning of a building that is followed for notices. `state` is `new`, `told` (a report has its beginning) or
    `over`.

    `since` is its beginning (0: not known), `seen` the time when the sink saw it, `absent` the time since which the
    summaries lack it (0: they have it), `times` how often it came within a day.
    """

    __tablename__ = "troubles"
    __table_args__ = (UniqueConstraint("mesh", "code", "node", "subject"),)
    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    mesh: Mapped[str] = mapped_column(String(64))
    code: Mapped[str] = mapped_column(String(64))
    node: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(80))
    state: Mapped[str] = mapped_column(String(16), default="new")
    since: Mapped[int] = mapped_column(BigInteger)
    seen: Mapped[int] = mapped_column(BigInteger)
    absent: Mapped[int] = mapped_column(BigInteger, default=0)
    times: Mapped[int] = mapped_column(Integer, default=1)


class Report(Base):
    """A notice about troubles that began or ended together; `mesh` is empty for silent buildings."""

    __tablename__ = "reports"
    __table_args__ = (Index(None, "mesh", "created"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    mesh: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text)
    created: Mapped[int] = mapped_column(BigInteger)


class Setting(Base):
    """A setting of the sink that runs, for `edge-sink status`."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
