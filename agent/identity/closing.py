"""Closes connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging

logger = logging.getLogger(__name__)

CLOSE = 2.0
"""Seconds that the other side gets to end a connection in order."""


async def close(writer: asyncio.StreamWriter, other: str) -> None:
    """End the connection with `other`, orderly if that is possible within CLOSE seconds.

    The closing side has had its answers already, so a disorderly end is only logged.
    """
    writer.close()
    try:
        async with asyncio.timeout(CLOSE):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        logger.debug("the connection with %s did not close in order", other)
    finally:
        abort(writer)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close the connection at once, if it is not closed yet."""
    # Before Python 3.11.4, Debian 12's among them, a TLS transport that is closed already raises this.
    with contextlib.suppress(AttributeError):
        writer.transport.abort()
