"""Waiting for a condition with a limit, and the error of a demo that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from agent.errors import EdgeError

T = TypeVar("T")

LOOK = 0.1
"""Seconds between two calls of `look`."""


class DemoError(EdgeError):
    """The demo failed; the message contains the last lines of the logs."""

    code = "demo"


def wait_for(what: str, look: Callable[[], T | None], timeout: float, alive: Callable[[], object] | None = None) -> T:
    """Call `look` until it returns something other than None, and return that.

    Calls `alive` in between and raises its errors. Raises DemoError after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while (found := look()) is None:
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise DemoError(f"timeout after {timeout:.0f} s: {what}", hint="see the agents' logs")
        time.sleep(LOOK)
    return found
