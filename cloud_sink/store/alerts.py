"""Alerts, their photos and the buildings they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from agent.model.alert import Alert as WireAlert
from agent.model.alert import StatusSummary
from cloud_sink.clock import now_ms
from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Alert, Building, Notice, Photo

MOST = 200
"""Most alerts of one incident that are read at once, the oldest first; a large building's photo storm has fewer."""

MAX_EVERY = 86_400
"""Most seconds between two summaries that a building may announce."""


class StoredPhoto(msgspec.Struct, frozen=True):
    """A photo that is on disk."""

    name: str
    cid: str
    digest: str
    width: int
    height: int
    size: int


class Found(NamedTuple):
    """An incident's oldest alerts, the number of all its alerts, and their size in bytes as received."""

    alerts: list[Alert]
    total: int
    size: int


class Alerts(Transactions):
    """The alert history."""

    def has(self, mesh: str, event_id: str) -> bool:
        """True if this alert is stored."""
        with self.read() as s:
            return s.scalar(select(Alert.seq).where(Alert.mesh == mesh, Alert.event_id == event_id)) is not None

    def add(
        self,
        alert: WireAlert,
        photos: Sequence[StoredPhoto],
        *,
        size: int,
        via: str,
        name: str,
        channels: Sequence[str],
    ) -> int | None:
        """Store the alert and queue its notices in one transaction; returns its seq, or None if it is stored already."""
        event = msgspec.json.decode(alert.event.encode())
        row: dict[str, Any] = {
            "mesh": alert.mesh,
            "event_id": alert.event.id,
            "root": alert.event.root or alert.event.id,
            "node": alert.node,
            "camera": camera_of(alert),
            "received": now_ms(),
            "size": size,
            "via": via,
            "event": event,
            "trace": msgspec.json.decode(msgspec.json.encode(alert.trace)),
            "certificate": alert.certificate,
            "signature": alert.signature,
        }
        with self.write() as s:
            # Plain statements: creating objects for these rows would take longer than the disk write.
            db = s.connection()
            _in_turn(s, alert.mesh)
            unless = (postgresql if db.dialect.name == "postgresql" else sqlite).insert(Alert)
            seq: int | None = db.scalar(unless.on_conflict_do_nothing().returning(Alert.seq), row)
            if seq is None:
                return None
            rows = [{"alert": seq, "position": i, **msgspec.structs.asdict(p)} for i, p in enumerate(photos)]
            if rows:
                db.execute(insert(Photo), rows)
            building = {"seen": now_ms(), "name": name}
            if not db.execute(update(Building).where(Building.mesh == alert.mesh), building).rowcount:
                _seen(s, alert.mesh, name)
            for channel in channels:
                _want(s, channel, alert.mesh, row["root"], seq)
            return seq

    def get(self, seq: int) -> Alert | None:
        """One alert with its photos."""
        with self.read() as s:
            return s.get(Alert, seq)

    def incident(self, mesh: str, root: str) -> list[Alert]:
        """The oldest `MOST` alerts of an incident, oldest first."""
        with self.read() as s:
            return list(
                s.scalars(select(Alert).where(Alert.mesh == mesh, Alert.root == root).order_by(Alert.seq).limit(MOST))
            )

    def incidents(
        self, *, before: int | None = None, mesh: str = "", camera: str = "", limit: int = 20
    ) -> list[tuple[str, str, int]]:
        """(mesh, root, newest seq) of incidents, newest first; `before` is the seq at which the previous page ended."""
        first, newest = func.min(Alert.seq), func.max(Alert.seq).label("newest")
        query = select(Alert.mesh, Alert.root, newest).group_by(Alert.mesh, Alert.root)
        if mesh:
            query = query.where(Alert.mesh == mesh)
        if camera:
            query = query.where(Alert.camera == camera)
        if before is not None:
            query = query.having(first < before)
        with self.read() as s:
            rows = s.execute(query.order_by(first.desc()).limit(limit)).all()
            return [(m, r, n) for m, r, n in rows]

    def of_incidents(self, keys: Sequence[tuple[str, str]], most: int = MOST) -> dict[tuple[str, str], Found]:
        """Several incidents, with the `most` oldest alerts of each."""
        found = {key: Found([], 0, 0) for key in keys}
        same = (Alert.mesh, Alert.root)
        rank = func.row_number().over(partition_by=same, order_by=Alert.seq).label("rank")
        number, size = func.count().over(partition_by=same), func.sum(Alert.size).over(partition_by=same)
        rows = (
            select(Alert.seq, rank, number.label("number"), size.label("size"))
            # For pairs alone SQLite uses no index.
            .where(Alert.mesh.in_({m for m, _ in keys}), Alert.root.in_({r for _, r in keys}), tuple_(*same).in_(keys))
            .subquery()
        )
        query = select(Alert, rows.c.number, rows.c.size).join(rows, Alert.seq == rows.c.seq).where(rows.c.rank <= most)
        with self.read() as s:
            for alert, total, bytes_ in s.execute(query.order_by(Alert.seq)):
                alerts = found[alert.mesh, alert.root].alerts
                found[alert.mesh, alert.root] = Found([*alerts, alert], int(total), int(bytes_))
        return found

    def cameras(self) -> list[tuple[str, str]]:
        """(mesh, camera) of all alerts, sorted."""
        with self.read() as s:
            return [
                (m, c)
                for m, c in s.execute(select(Alert.mesh, Alert.camera).distinct().order_by(Alert.mesh, Alert.camera))
            ]

    def newest(self) -> int:
        """The newest seq; 0 if there is no alert."""
        with self.read() as s:
            return s.scalar(select(func.max(Alert.seq))) or 0

    def count(self) -> tuple[int, int]:
        """The number of stored alerts, and the sum of their bytes as received."""
        with self.read() as s:
            number, size = s.execute(select(func.count(Alert.seq), func.coalesce(func.sum(Alert.size), 0))).one()
            return int(number), int(size)

    def photo(self, photo_id: int) -> Photo | None:
        """One photo's row."""
        with self.read() as s:
            return s.get(Photo, photo_id)

    def digests(self) -> set[str]:
        """The names of all photo files that belong to an alert."""
        with self.read() as s:
            return set(s.scalars(select(Photo.digest)))

    def prune(self, before_ms: int, limit: int = 500) -> tuple[int, list[str]]:
        """Delete up to `limit` alerts received before `before_ms`.

        Returns their number, and the photo files that no alert needs any more.
        """
        with self.write() as s:
            gone = list(s.scalars(select(Alert.seq).where(Alert.received < before_ms).order_by(Alert.seq).limit(limit)))
            if not gone:
                return 0, []
            digests = set(s.scalars(select(Photo.digest).where(Photo.alert.in_(gone))))
            s.execute(delete(Photo).where(Photo.alert.in_(gone)))
            s.execute(delete(Alert).where(Alert.seq.in_(gone)))
            s.execute(delete(Notice).where(Notice.wanted.in_(gone), Notice.report == 0))
            kept = set(s.scalars(select(Photo.digest).where(Photo.digest.in_(digests))))
            return len(gone), sorted(digests - kept)

    def add_status(self, summary: StatusSummary, name: str) -> None:
        """Store the newest summary of a mesh."""
        with self.write() as s:
            _in_turn(s, summary.mesh)
            building = _seen(s, summary.mesh, name)
            building.node, building.time, building.received = summary.node, summary.time, now_ms()
            building.every = min(max(summary.every, 1), MAX_EVERY)
            building.nodes = [dict(n) for n in summary.nodes]
            building.warnings = msgspec.json.decode(msgspec.json.encode(summary.warnings))

    def buildings(self) -> list[Building]:
        """All buildings that have ever sent data, by name."""
        with self.read() as s:
            return list(s.scalars(select(Building).order_by(Building.name, Building.mesh)))


def camera_of(alert: WireAlert) -> str:
    """The camera's name in the event, without unprintable characters."""
    camera = alert.event.data.get("camera", "")
    text = camera if isinstance(camera, str) else ""
    return "".join(c for c in text if c.isprintable())[:128]


def _in_turn(s: Session, mesh: str) -> None:
    """Allow one writer per mesh at a time, as SQLite does by itself.

    Otherwise an alert could commit after an alert with a larger seq was shown, and be missing in its incident's message.
    """
    if s.connection().dialect.name == "postgresql":
        s.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(mesh, 0))))


def _seen(s: Session, mesh: str, name: str) -> Building:
    building = s.get(Building, mesh)
    if building is None:
        building = Building(mesh=mesh, name=name, nodes=[], warnings=[])
        s.add(building)
    building.seen, building.name = now_ms(), name
    return building


def _want(s: Session, channel: str, mesh: str, root: str, seq: int) -> None:
    query = select(Notice).where(Notice.channel == channel, Notice.mesh == mesh, Notice.root == root)
    notice = s.scalar(query.with_for_update())
    if notice is None:
        s.add(Notice(channel=channel, mesh=mesh, root=root, wanted=seq, files={}))
    else:
        notice.wanted = max(notice.wanted, seq)
