"""Letting go of a connection."""

from __future__ import annotations

import asyncio
import contextlib


def abort(writer: asyncio.StreamWriter) -> None:
    """Close the connection at once, if it is not closed yet."""
    # Before Python 3.11.4, Debian 12's among them, a TLS transport that is closed already raises this.
    with contextlib.suppress(AttributeError):
        writer.transport.abort()
