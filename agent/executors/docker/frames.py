"""The attach stream of a container without a terminal: stdout and stderr in frames.

Docker Engine API, "Attach to a container", stream format: 1 byte stream (1 stdout, 2 stderr), 3 zero bytes, 4 bytes
big-endian length, then the data.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

STDOUT = 1
STDERR = 2
_HEADER = struct.Struct(">BxxxL")
_PIECE = 1 << 12
"""Bytes between two chances for the agent's other work: each of them may be a log line."""


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """(stream, data) until the stream ends; large frames come in pieces."""
    try:
        while True:
            stream, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            while size:
                data = await reader.read(min(size, _PIECE))
                if not data:
                    return
                size -= len(data)
                yield stream, data
                await asyncio.sleep(0)  # a full buffer gives no other chance
    except (asyncio.IncompleteReadError, OSError):
        return
