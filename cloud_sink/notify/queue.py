"""The queue of notices (incidents and reports). It is in the database, so that a restart neither loses nor repeats a notice."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import aliased

from cloud_sink.clock import now_ms
from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Notice, Report


class Pending(msgspec.Struct):
    """An incident that a channel must show or update. `posting`: the first message may have arrived."""

    id: int
    mesh: str
    root: str
    wanted: int
    message: str
    posting: bool
    files: dict[str, str]
    attempts: int
    report: int = 0
    """The report to send; 0 for an incident."""


class Notices(Transactions):
    """The notices of all channels. Calls block, so they run in threads."""

    def next(self, channel: str) -> Pending | None:
        """The notice of this channel that is due first; None when none is due."""
        with self.read() as s:
            n = s.scalar(
                select(Notice).where(*_waits(channel), Notice.due <= now_ms()).order_by(Notice.due, Notice.id).limit(1)
            )
        if n is None:
            return None
        posting = n.state == "posting"
        return Pending(n.id, n.mesh, n.root, n.wanted, n.message, posting, dict(n.files), n.attempts, n.report)

    def report(self, report: int) -> Report | None:
        """A report; None if it is too old to be kept."""
        with self.read() as s:
            return s.get(Report, report)

    def wait(self, channel: str) -> float | None:
        """Seconds until a notice is due; None when none waits."""
        with self.read() as s:
            due = s.scalar(select(func.min(Notice.due)).where(*_waits(channel)))
        return None if due is None else max(0.0, (due - now_ms()) / 1000)

    def waiting(self) -> int:
        """The number of incidents and reports that wait, on all channels."""
        with self.read() as s:
            return s.scalar(select(func.count(Notice.id)).where(Notice.wanted > Notice.shown)) or 0

    def keep_files(self, notice: int, files: dict[str, str]) -> None:
        """Store which photos are uploaded, and their file ids."""
        self._set(notice, files=files)

    def posting(self, notice: int, under_way: bool) -> None:
        """Store that a first message is about to be posted, or that it was certainly not posted."""
        self._set(notice, state="posting" if under_way else "idle")

    def shown(self, notice: int, message: str, seq: int, pause: float) -> None:
        """Store that the message shows all alerts up to `seq`; the next edit is due after `pause` seconds."""
        due = now_ms() + int(pause * 1000)
        self._set(notice, message=message, shown=seq, state="idle", attempts=0, error="", due=due)

    def postpone(self, notice: int, seconds: float, error: str, *, count: bool = True) -> None:
        """Make the notice due after `seconds`; `count` adds a failed attempt."""
        changes: dict[str, Any] = {"due": now_ms() + int(seconds * 1000), "error": error[:300]}
        if count:
            changes["attempts"] = Notice.attempts + 1
        self._set(notice, **changes)

    def _set(self, notice: int, **changes: Any) -> None:
        with self.write() as s:
            s.execute(update(Notice).where(Notice.id == notice).values(**changes))


def _waits(channel: str) -> tuple[ColumnElement[bool], ...]:
    """The notices that a channel may show next. A report waits for the earlier reports about its building: an end comes last."""
    earlier = aliased(Notice)
    before = (
        select(earlier.id)
        .where(
            earlier.channel == channel,
            earlier.mesh == Notice.mesh,
            earlier.report > 0,
            earlier.report < Notice.report,
            earlier.wanted > earlier.shown,
        )
        .exists()
    )
    return Notice.channel == channel, Notice.wanted > Notice.shown, ~before
