"""Services that end by a fault are seen, counted, and started again; a port that cannot be had ends the agent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from agent.errors import ConfigError, EdgeError
from agent.health import HealthRegistry
from agent.model.health import Warning

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 30.0)
"""Seconds before a service is started again; the last one for ever."""
STARTING = 10.0


async def supervised(
    name: str, run: Callable[[], Awaitable[None]], health: HealthRegistry, *, listens: bool = False
) -> None:
    """Run a service until it returns or is cancelled; start it again after a fault.

    Where it listens, raises a ConfigError of its first seconds as it is: a port that is taken is for a person to mend.
    """
    faults, began = 0, time.monotonic()
    while True:
        try:
            await run()
            return
        except (Exception, BaseExceptionGroup) as e:
            if listens and isinstance(e, ConfigError) and time.monotonic() - began < STARTING:
                raise
            faults += 1
            if isinstance(e, EdgeError):
                log.error("%s stopped: %s", name, e.message)
            else:
                log.error("%s stopped by a fault of its own", name, exc_info=e)
            health.set(
                Warning(
                    "service.restarted", name, f"{name} stopped {faults} times: {e}", "see the agent's log; report it"
                )
            )
        await asyncio.sleep(PAUSES[min(faults, len(PAUSES)) - 1])
