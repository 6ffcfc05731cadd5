"""Other services by Apprise: mail, Telegram, ntfy, Matrix and many more. One message per incident or report, never edited."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import apprise

from agent.errors import ConfigError
from cloud_sink.incidents import Incident
from cloud_sink.notify.channel import Books, Later
from cloud_sink.notify.queue import Pending
from cloud_sink.store.models import Report

logger = logging.getLogger(__name__)


class Other:
    """The channel `apprise:<hash of its URL>`; the URL contains secrets and is never shown."""

    def __init__(self, url: str) -> None:
        self._target: Any = apprise.Apprise()
        if not self._target.add(url):
            raise ConfigError(
                "the Apprise file has a line that Apprise does not know", hint="see Apprise's list of services"
            )
        self.name = f"apprise:{hashlib.sha256(url.encode()).hexdigest()[:16]}"

    async def close(self) -> None:
        """See Channel."""

    async def show(self, pending: Pending, incident: Incident, books: Books) -> str:
        """See Channel."""
        if pending.message:
            return pending.message
        photo = await books.picture(incident.pictures[0]) if incident.pictures else b""
        if not await asyncio.to_thread(self._send, incident, photo):
            raise Later("the service did not accept the message", maybe_posted=True)
        return "sent"

    async def tell(self, pending: Pending, report: Report, books: Books) -> str:
        """See Channel."""
        if not await asyncio.to_thread(self._target.notify, title=report.title, body=report.body):
            raise Later("the service did not accept the message", maybe_posted=True)
        return "sent"

    def _send(self, incident: Incident, photo: bytes) -> bool:
        body = f"{incident.who} joined the Wi-Fi at {incident.time}" if incident.who else f"At {incident.time}"
        with contextlib.ExitStack() as stack:
            attach = None
            if photo:
                try:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-sink-"))
                    (path := Path(folder) / "photo.jpg").write_bytes(photo)
                    attach = str(path)
                except OSError as e:
                    logger.warning("apprise: sending a message without its photo: %s", e.strerror)
            return bool(self._target.notify(title=incident.title, body=body, attach=attach))


def read_others(path: Path) -> list[Other]:
    """The channels of a file with one Apprise URL per line; `#` starts a comment. Raises ConfigError."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {why}", hint="give a file with one Apprise URL a line") from e
    return [Other(line) for line in lines if line and not line.startswith("#")]
