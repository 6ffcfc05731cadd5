"""Handing out the files of a release: `/install` is the installer, `/install/FILE` a file of the folder. Nodes and the sink do it.

An ASGI application without a framework. It answers GET and HEAD, reads only plain files of one flat folder, and has limits for
each sender and for all. The files are no secrets: a device knows a file by its SHA-256 and the release's signature.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from agent.door import holder
from agent.rates import Rates

logger = logging.getLogger(__name__)

SCRIPT, MANIFEST = "install.sh", "manifest.json"
AT_ONCE, AT_ONCE_EACH = 8, 3
"""Most files that are on their way at once, in all and to one sender; a device takes them one after another."""
RATE, BURST = 1.0, 60.0
"""Requests a second of one sender, and how many may come at once."""
PART = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a release: its manifest is written last."""
    return (folder / MANIFEST).is_file() and (folder / SCRIPT).is_file()


class Handout:
    """The application. `folder` may be missing or change at any time; a file that is being sent stays readable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rates = Rates(RATE, BURST, names=1000)
        self._sending: Counter[str] = Counter()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        sender = holder(scope["client"][0]) if scope.get("client") else ""
        status, file = await self._find(scope, sender)
        if file < 0:
            await _answer(send, status, b"" if scope["method"] == "HEAD" else f"{status}\n".encode())
            return
        self._sending[sender] += 1
        try:
            await _send_file(send, file, head=scope["method"] == "HEAD")
        finally:
            self._sending -= Counter([sender])
            os.close(file)

    async def _find(self, scope: Scope, sender: str) -> tuple[int, int]:
        """The status and an open file, or -1."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, -1
        if self._rates.take(sender):
            return 429, -1
        if self._sending[sender] >= AT_ONCE_EACH or self._sending.total() >= AT_ONCE:
            return 503, -1
        path = scope["path"].rstrip("/")
        if path == "/install":
            name = SCRIPT
        elif path.startswith("/install/"):
            name = path.removeprefix("/install/")
        else:
            return 404, -1
        file = await asyncio.to_thread(_open, self.folder / name) if _NAME.fullmatch(name) else -1
        return (200 if file >= 0 else 404), file


def _open(path: Path) -> int:
    """A descriptor of a plain file; -1 where there is none. A link is not followed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return -1
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return -1


async def _send_file(send: Send, file: int, *, head: bool) -> None:
    left = os.fstat(file).st_size
    headers = [(b"content-length", str(left).encode()), (b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"cache-control", b"no-store")]})
    while left > 0 and not head:
        part = await asyncio.to_thread(os.read, file, min(PART, left))
        if not part:
            raise OSError("the file became shorter while it was sent")
        left -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": left > 0})
    if head or not os.fstat(file).st_size:
        await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    if status in (429, 503):
        headers.append((b"retry-after", b"10"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
