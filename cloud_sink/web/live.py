"""Live updates: sends news about stored data to every open page as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from cloud_sink import metrics

MAX_WATCHERS = 200
_QUEUE = 100


class Live:
    """Sends messages from any thread to the open pages. A page that does not read loses its stream, so that its queue
    stays small.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: set[asyncio.Queue[dict[str, str] | None]] = set()
        self._closed = False

    def start(self) -> None:
        """Bind to the running loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self, event: str, **data: object) -> None:
        """Send to all open pages; callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, {"event": event, "data": json.dumps(data)})

    def close(self) -> None:
        """End all streams now; call it in the event loop."""
        self._closed = True
        self._put(None)

    @property
    def full(self) -> bool:
        """True if no further page can open a stream."""
        return self._closed or len(self._watchers) >= MAX_WATCHERS

    async def stream(self, since: int) -> AsyncIterator[dict[str, str]]:
        """The messages from now on. The first message has the newest seq, so that a page notices missed alerts."""
        queue: asyncio.Queue[dict[str, str] | None] = asyncio.Queue(_QUEUE)
        self._watchers.add(queue)
        metrics.WATCHERS.set(len(self._watchers))
        try:
            yield {"event": "hello", "data": json.dumps({"newest": since})}
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._watchers.discard(queue)
            metrics.WATCHERS.set(len(self._watchers))

    def _put(self, message: dict[str, str] | None) -> None:
        for queue in list(self._watchers):
            if message is None or queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(message)
