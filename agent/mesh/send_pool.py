"""Sending without ever blocking the event loop.

zenoh's transmit queue holds two batches of 64 KiB for each priority; with congestion control BLOCK a
send waits for room in it, for seconds when a link hangs. A send that surely fits runs at once, the others
run in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

SURELY_FITS = 64 << 10
"""While unanswered requests have at most this many bytes, the next one is sent from the loop itself."""
SMALL = 2 << 10
"""Largest reply in bytes that is sent from the loop itself."""


class SendPool:
    """Runs small sends directly and the others in a few threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="mesh-send")
        self.outstanding = 0

    def send(self, size: int, send: Callable[[], None]) -> None:
        """Run `send()`, which must not raise; `size` is how many bytes it puts into the queue."""
        if size <= SMALL and self.outstanding <= SURELY_FITS:
            send()
        else:
            self._pool.submit(send)

    def close(self) -> None:
        """Drop the sends that have not begun, and wait for none."""
        self._pool.shutdown(wait=False, cancel_futures=True)
