"""Sending without ever blocking the event loop.

zenoh's transmit queue holds two batches of 64 KiB for each priority; with congestion control BLOCK a
sender waits for room in it, for seconds when a link hangs. What surely fits is sent at once, the rest
from threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SURELY_FITS = 64 << 10
"""Bytes of requests without an answer up to which one more is sent from the loop itself."""
SMALL = 2 << 10
"""Largest reply in bytes that is sent from the loop itself."""


class Sender:
    """Runs sends: small ones directly, others in a few threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="mesh-send")
        self.outstanding = 0

    def send(self, size: int, send: Callable[[], None]) -> None:
        """Run `send()`, which must not raise; `size` is what it puts into the queue, in bytes."""
        if size <= SMALL and self.outstanding <= SURELY_FITS:
            send()
        else:
            self._pool.submit(send)

    def close(self) -> None:
        """Wait for no more sends."""
        self._pool.shutdown(wait=False, cancel_futures=True)
