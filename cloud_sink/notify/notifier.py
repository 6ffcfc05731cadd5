"""Shows incidents and reports in other services: one message per incident and channel, edited when more alerts arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agent.backoff import Backoff, doubling
from cloud_sink import metrics
from cloud_sink.incidents import Picture, incident_of
from cloud_sink.notify.channel import Books, Channel, Later
from cloud_sink.notify.drawing import drawn
from cloud_sink.notify.queue import Notices, Pending
from cloud_sink.store import Alerts, PhotoStore

logger = logging.getLogger(__name__)

EDIT_PAUSE = 2.0
"""Seconds between edits of one message: alerts of several cameras come close together."""
BACKOFF = Backoff(doubling(1.0, 600.0), jitter=(0.5, 1.0))
"""The pauses after a notice that failed."""
DATABASE_PAUSE = 2.0
"""Seconds between retries while the database cannot be read or written."""
_IDLE = 60.0
_T = TypeVar("_T")


class Notifier:
    """Runs each channel in a separate task, so that no channel waits for another."""

    __name__ = "notifier"

    def __init__(self, channels: Sequence[Channel], notices: Notices, alerts: Alerts, photos: PhotoStore) -> None:
        self._channels = channels
        self._notices, self._alerts, self._photos = notices, alerts, photos
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakes = [asyncio.Event() for _ in channels]
        self._logged: dict[str, str] = {}
        self._broken: set[int] = set()
        self._undrawn: set[str] = set()

    def wake(self) -> None:
        """Say that there is a new alert or report; callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            for wake in self._wakes:
                self._loop.call_soon_threadsafe(wake.set)

    async def run(self) -> None:
        """Work until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                for channel, wake in zip(self._channels, self._wakes, strict=True):
                    group.create_task(self._work(channel, wake))
        finally:
            for channel in self._channels:
                await channel.close()

    async def _work(self, channel: Channel, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                pause = await self._next(channel)
            except Exception as e:  # noqa: BLE001
                # This failure belongs to no notice; raising it would end the other channels too.
                self._say(channel, f"cannot read or write the queue: {type(e).__name__}")
                await asyncio.sleep(DATABASE_PAUSE)
                continue
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await wake.wait()
                except TimeoutError:
                    continue

    async def _next(self, channel: Channel) -> float:
        """Show the notice that is due first; return the seconds to wait when none is due."""
        pending = await self._database(channel, lambda: self._notices.next(channel.name))
        if pending is not None:
            await self._show(channel, pending)
            return 0.0
        pause = await self._database(channel, lambda: self._notices.wait(channel.name))
        return _IDLE if pause is None else min(pause, _IDLE) + 0.01

    async def _show(self, channel: Channel, pending: Pending) -> None:
        try:
            message, seq = await self._shown(channel, pending)
            await self._database(channel, lambda: self._notices.shown(pending.id, message, seq, EDIT_PAUSE))
        except Later as later:
            self._say(channel, later.reason)
            await self._failed(channel, pending, later)
            return
        except Exception as e:
            if pending.id not in self._broken:
                self._broken.add(pending.id)
                logger.exception("%s: cannot show %s; will try again", _kind(channel), _named(pending))
            await self._failed(channel, pending, Later(f"failed with {type(e).__name__}", maybe_posted=True))
            return
        self._broken.discard(pending.id)
        self._logged.pop(channel.name, None)

    async def _shown(self, channel: Channel, pending: Pending) -> tuple[str, int]:
        """The id of the message of an incident or report, and the seq up to which it is shown."""
        if pending.report:
            return await self._told(channel, pending), pending.wanted
        alerts = await self._database(channel, lambda: self._alerts.incident(pending.mesh, pending.root))
        if not alerts:
            return pending.message, pending.wanted
        incident = incident_of(alerts, "")
        by_url = {f"/photos/{p.id}.jpg": p.digest for a in alerts for p in a.photos}
        message = await channel.show(pending, incident, self._books(channel, pending, by_url))
        metrics.NOTICES.labels(_kind(channel), "shown").inc()
        # `incident` has only the oldest 200 alerts, so its newest seq may be lower than the wanted seq.
        return message, max(incident.newest, pending.wanted)

    async def _told(self, channel: Channel, pending: Pending) -> str:
        report = await self._database(channel, lambda: self._notices.report(pending.report))
        if report is None:
            return pending.message
        message = await channel.tell(pending, report, self._books(channel, pending, {}))
        metrics.NOTICES.labels(_kind(channel), "shown").inc()
        return message

    def _books(self, channel: Channel, pending: Pending, by_url: dict[str, str]) -> Books:
        return Books(
            keep_files=lambda files: self._database(channel, lambda: self._notices.keep_files(pending.id, files)),
            posting=lambda way: self._database(channel, lambda: self._notices.posting(pending.id, way)),
            picture=lambda p: asyncio.to_thread(self._drawn, by_url[p.url], p),
        )

    def _drawn(self, digest: str, picture: Picture) -> bytes:
        try:
            return drawn(self._photos.path(digest), picture)
        except Exception as e:  # noqa: BLE001 - Pillow raises many types for a damaged file
            if digest not in self._undrawn:
                self._undrawn.add(digest)
                logger.warning(
                    "cannot draw photo %s (%s); showing the incident without it", digest[:12], type(e).__name__
                )
            return b""

    async def _failed(self, channel: Channel, pending: Pending, later: Later) -> None:
        if not later.maybe_posted and pending.posting:
            await self._database(channel, lambda: self._notices.posting(pending.id, False))
        pause = later.seconds or BACKOFF.after(pending.attempts + 1)
        await self._database(channel, lambda: self._notices.postpone(pending.id, pause, later.reason))
        metrics.NOTICES.labels(_kind(channel), "failed").inc()

    async def _database(self, channel: Channel, call: Callable[[], _T]) -> _T:
        """The result of a call in a thread, repeated while the database is full or unreachable.

        A message whose posting is not stored would be posted again.
        """
        while True:
            try:
                return await asyncio.to_thread(call)
            except (OperationalError, InterfaceError, PoolTimeout) as e:
                self._say(channel, f"cannot use the database: {str(getattr(e, 'orig', e)).strip()[:200]}")
            await asyncio.sleep(DATABASE_PAUSE)

    def _say(self, channel: Channel, reason: str) -> None:
        if self._logged.get(channel.name) != reason:
            self._logged[channel.name] = reason
            logger.warning("%s: %s; will try again", _kind(channel), reason)


def _named(pending: Pending) -> str:
    return pending.root if pending.report else f"incident {pending.root}"


def _kind(channel: Channel) -> str:
    """The channel's name without the part that may be secret."""
    return channel.name.partition(":")[0]
