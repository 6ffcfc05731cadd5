"""The queue of notices: in the database, so that a restart loses nothing and repeats nothing."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, select, update

from cloud_sink.clock import now_ms
from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Notice


class Pending(msgspec.Struct):
    """An incident that a channel has to show, or to show again with more in it. `posting`: a first try may have
    arrived.
    """

    id: int
    mesh: str
    root: str
    wanted: int
    message: str
    posting: bool
    files: dict[str, str]
    attempts: int


class Notices(Transactions):
    """The notices of all channels. Calls block, so they run in threads."""

    def next(self, channel: str) -> Pending | None:
        """What is due first on this channel."""
        with self.read() as s:
            n = s.scalar(
                select(Notice)
                .where(Notice.channel == channel, Notice.wanted > Notice.shown, Notice.due <= now_ms())
                .order_by(Notice.due, Notice.id)
                .limit(1)
            )
        if n is None:
            return None
        return Pending(n.id, n.mesh, n.root, n.wanted, n.message, n.state == "posting", dict(n.files), n.attempts)

    def wait(self, channel: str) -> float | None:
        """Seconds until something is due; None when nothing waits."""
        with self.read() as s:
            due = s.scalar(select(func.min(Notice.due)).where(Notice.channel == channel, Notice.wanted > Notice.shown))
        return None if due is None else max(0.0, (due - now_ms()) / 1000)

    def waiting(self) -> int:
        """How many incidents wait on all channels."""
        with self.read() as s:
            return s.scalar(select(func.count(Notice.id)).where(Notice.wanted > Notice.shown)) or 0

    def keep_files(self, notice: int, files: dict[str, str]) -> None:
        """Remember which photos have been uploaded, as which files."""
        self._set(notice, files=files)

    def posting(self, notice: int, under_way: bool) -> None:
        """Remember that a first message is about to be posted, or surely was not."""
        self._set(notice, state="posting" if under_way else "idle")

    def shown(self, notice: int, message: str, seq: int, pause: float) -> None:
        """The message has everything up to `seq`; the next edit comes after `pause` seconds at the earliest."""
        due = now_ms() + int(pause * 1000)
        self._set(notice, message=message, shown=seq, state="idle", attempts=0, error="", due=due)

    def postpone(self, notice: int, seconds: float, error: str, *, count: bool = True) -> None:
        """Try again later."""
        changes: dict[str, Any] = {"due": now_ms() + int(seconds * 1000), "error": error[:300]}
        if count:
            changes["attempts"] = Notice.attempts + 1
        self._set(notice, **changes)

    def _set(self, notice: int, **changes: Any) -> None:
        with self.write() as s:
            s.execute(update(Notice).where(Notice.id == notice).values(**changes))
