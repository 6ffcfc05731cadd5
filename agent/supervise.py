"""Running the services of a process, by how they end.

A service that returns is done. One that fails is started again after a pause, and the failure is logged and reported.
One that cannot listen just after its start ends the process: only a person can free the port or name another one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from agent.backoff import Backoff, Tries
from agent.errors import CannotListen, EdgeError

log = logging.getLogger(__name__)

BACKOFF = Backoff((1.0, 5.0, 30.0))
"""The pauses before a service is started again."""
STARTING = 10.0
"""Seconds after the first start in which CannotListen is fatal; later the port was in use by this process before."""
WELL = 60.0
"""A service that ran for more seconds than this has the first pause again."""

Restarted = Callable[[str, int, BaseException], None]
"""Gets a service's name, how often it has failed so far, and its last error."""


async def supervised(
    name: str,
    run: Callable[[], Awaitable[None]],
    restarted: Restarted = lambda _name, _failures, _error: None,
    *,
    backoff: Backoff | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a service until it returns or is cancelled; start it again when it fails, `backoff` (BACKOFF) later.

    Raises CannotListen where that happens in its first seconds.
    """
    tries, failures, first = Tries(backoff or BACKOFF, clock=clock), 0, clock()
    while True:
        began = clock()
        try:
            await run()
            return
        except (Exception, BaseExceptionGroup) as error:
            if isinstance(error, CannotListen) and clock() - first < STARTING:
                raise
            if isinstance(error, EdgeError):
                log.error("%s stopped, restarting it: %s (%s)", name, error.message, error.code)
            else:
                log.error("%s stopped by an internal error, restarting it", name, exc_info=error)
            failures += 1
            restarted(name, failures, error)
        if clock() - began > WELL:
            tries.succeeded()
        await sleep(tries.failed())
