"""Tells other places of incidents: one message for each incident and place, edited when more of it arrives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from cloud_sink import metrics
from cloud_sink.incidents import incident_of
from cloud_sink.notify.channel import Books, Channel, Later
from cloud_sink.notify.drawing import drawn
from cloud_sink.notify.queue import Notices, Pending
from cloud_sink.store import Alerts, PhotoStore

logger = logging.getLogger(__name__)

EDIT_PAUSE = 2.0
"""Seconds between edits of one message: several cameras' alerts come close together."""
LONGEST_PAUSE = 600.0
_IDLE = 60.0


class Notifier:
    """Runs each channel on its own, so that none waits for another."""

    __name__ = "notifier"

    def __init__(self, channels: Sequence[Channel], notices: Notices, alerts: Alerts, photos: PhotoStore) -> None:
        self._channels = channels
        self._notices, self._alerts, self._photos = notices, alerts, photos
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakes = [asyncio.Event() for _ in channels]
        self._logged: dict[str, str] = {}

    def wake(self) -> None:
        """There is something new; from any thread."""
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
            pending = await asyncio.to_thread(self._notices.next, channel.name)
            if pending is not None:
                await self._show(channel, pending)
                continue
            pause = await asyncio.to_thread(self._notices.wait, channel.name)
            try:
                async with asyncio.timeout(_IDLE if pause is None else min(pause, _IDLE) + 0.01):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _show(self, channel: Channel, pending: Pending) -> None:
        alerts = await asyncio.to_thread(self._alerts.incident, pending.mesh, pending.root)
        if not alerts:
            await asyncio.to_thread(self._notices.shown, pending.id, pending.message, pending.wanted, 0.0)
            return
        incident = incident_of(alerts, "")
        by_url = {f"/photos/{p.id}.jpg": p.digest for a in alerts for p in a.photos}
        books = Books(
            keep_files=lambda files: asyncio.to_thread(self._notices.keep_files, pending.id, files),
            posting=lambda way: asyncio.to_thread(self._notices.posting, pending.id, way),
            picture=lambda p: asyncio.to_thread(drawn, self._photos.path(by_url[p.url]), p),
        )
        try:
            message = await channel.show(pending, incident, books)
        except Later as later:
            await self._failed(channel, pending, later)
            return
        await asyncio.to_thread(self._notices.shown, pending.id, message, incident.newest, EDIT_PAUSE)
        self._logged.pop(channel.name, None)
        metrics.NOTICES.labels(channel.name.partition(":")[0], "shown").inc()

    async def _failed(self, channel: Channel, pending: Pending, later: Later) -> None:
        if not later.maybe_posted and pending.posting:
            await asyncio.to_thread(self._notices.posting, pending.id, False)
        backoff = min(LONGEST_PAUSE, 1.0 * 2.0 ** min(pending.attempts, 12)) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.to_thread(self._notices.postpone, pending.id, later.seconds or backoff, later.reason)
        metrics.NOTICES.labels(channel.name.partition(":")[0], "failed").inc()
        if self._logged.get(channel.name) != later.reason:
            self._logged[channel.name] = later.reason
            logger.warning("%s: %s; will try again", channel.name.partition(":")[0], later.reason)
