"""Waiting for a condition with a limit, and the error of a demo that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from agent.errors import EdgeError

T = TypeVar("T")

LOOK = 0.1
"""Seconds between two looks."""


class DemoError(EdgeError):
    """The demo failed; the message has the last lines of the logs."""

    code = "demo"


def wait_for(what: str, look: Callable[[], T | None], timeout: float, alive: Callable[[], object] | None = None) -> T:
    """Call `look` until it returns something other than None, and return that.

    Raises DemoError after `timeout` seconds, and whatever `alive`, which is called between, raises.
    """
    end = time.monotonic() + timeout
    while (found := look()) is None:
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise DemoError(f"{what}: not within {timeout:.0f} s", hint="the agents' logs may say why")
        time.sleep(LOOK)
    return found
