"""An event loop in virtual time: while nothing is ready its clock jumps to the next timer, so an hour passes in no time.

The loop and `agent.clock.boottime` show the same time. Each node may have a clock with an offset (`CLOCK`).
The order of callbacks depends on nothing but the program and its seeds, so a run can be repeated exactly.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

from agent import clock, ticks

T = TypeVar("T")
START = 1_000_000.0
CLOCK: ContextVar[float] = ContextVar("CLOCK", default=0.0)
"""Seconds by which the clock of the node whose code runs is ahead of the loop's."""


class Stalled(AssertionError):
    """Something waits and nothing will ever happen."""


class _Jump(selectors.SelectSelector):
    """Waits for no file: time goes on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.between: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        self.between()
        if timeout is None:
            raise Stalled("no timer is set and no callback is ready")
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """No thread and no file can wake it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._jump.now

    def between(self, call: Callable[[], None]) -> None:
        """Run `call` after each turn of the loop, when all callbacks that were ready have run."""
        self._jump.between = call

    def skip(self, seconds: float) -> None:
        """Let time jump at once, as if the machine had been busy: timers fall due late."""
        self._jump.now += seconds


@contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A loop whose time `agent.clock` and `agent.ticks` show too; closed when the block ends."""
    loop = VirtualLoop()
    show = SimpleNamespace(monotonic=loop.time)
    with (
        clock.replaced_by(lambda: loop.time() + CLOCK.get()),
        patch.object(ticks, "time", show),
        patch.object(ticks, "_PHASE", 0.0),
    ):
        try:
            yield loop
        finally:
            _finish(loop)


def _finish(loop: VirtualLoop) -> None:
    loop.between(lambda: None)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time; returns its result."""
    with virtual_time() as loop:
        return loop.run_until_complete(main)
