"""The intake: checks and stores what a building sends, and informs the listeners. HTTPS and MQTT share it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from agent.errors import Refused
from cloud_sink import metrics
from cloud_sink.ingest.check import check_photos, check_signature, decode_alert, decode_hello, decode_status
from cloud_sink.settings import Limits
from cloud_sink.store import Access, Alerts, PhotoStore
from cloud_sink.store.models import Key

logger = logging.getLogger(__name__)


class WrongMesh(Refused):
    """The key belongs to another mesh."""

    code = "sink.mesh"


class Intake:
    """Calls block, so they run in threads; these threads call `on_alert(seq, mesh, root)` and `on_status(mesh)`."""

    def __init__(self, alerts: Alerts, access: Access, photos: PhotoStore, limits: Limits) -> None:
        self.on_alert: Callable[[int, str, str], None] = lambda _seq, _mesh, _root: None
        self.on_status: Callable[[str], None] = lambda _mesh: None
        self.channels: Sequence[str] = ()
        self.every = 0
        """Seconds between summaries that the buildings are asked for; 0: they decide."""
        self._alerts, self._access, self._photos, self._limits = alerts, access, photos, limits

    def alert(self, key: Key, body: bytes, via: str) -> tuple[str, bool]:
        """Store an alert once and return (event id, whether it is new). The alert is durable when this returns.

        Raises Refused, IdentityError.
        """
        alert = decode_alert(body, self._limits)
        key = self._bound(key, alert.mesh)
        check_signature(alert, key.ca)
        if self._alerts.has(alert.mesh, alert.event.id):
            metrics.ALERTS.labels("repeated").inc()
            return alert.event.id, False
        check_photos(alert)
        stored = [self._photos.put(p.name, p.cid, p.content) for p in alert.photos]
        seq = self._alerts.add(alert, stored, size=len(body), via=via, name=key.name, channels=self.channels)
        metrics.ALERTS.labels("repeated" if seq is None else "stored").inc()
        metrics.BYTES.inc(len(body))
        if seq is not None:
            logger.info("alert %s of mesh %s from %s stored", alert.event.id, alert.mesh, alert.node)
            self.on_alert(seq, alert.mesh, alert.event.root or alert.event.id)
        return alert.event.id, seq is not None

    def status(self, key: Key, body: bytes) -> dict[str, Any]:
        """Store a status summary and return the answer. Raises Refused."""
        summary = decode_status(body)
        key = self._bound(key, summary.mesh)
        self._alerts.add_status(summary, key.name)
        self.on_status(summary.mesh)
        return {"stored": True} | ({"every": self.every} if self.every else {})

    def hello(self, key: Key, body: bytes) -> str:
        """Return the building's name. The first hello binds the key to its mesh and CA. Raises Refused."""
        hello = decode_hello(body)
        key = self._access.bind_key(key.id, hello.mesh, hello.ca)
        if key.mesh != hello.mesh:
            raise _foreign(key)
        if hello.ca and hello.ca != key.ca:
            raise WrongMesh("the mesh has another CA than before", hint="make a new key with `edge-sink key create`")
        return key.name

    def _bound(self, key: Key, mesh: str) -> Key:
        if not key.mesh:
            key = self._access.bind_key(key.id, mesh, "")
        if key.mesh != mesh:
            raise _foreign(key)
        return key


def _foreign(key: Key) -> WrongMesh:
    return WrongMesh(
        f"key {key.id} belongs to another mesh", hint="make a key for each building with `edge-sink key create`"
    )
