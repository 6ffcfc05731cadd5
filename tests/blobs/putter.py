"""Puts blobs without end into the store at argv[1], printing the CID of each that is stored."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from agent.blobs import BlobStore


async def main() -> None:
    store = BlobStore(Path(sys.argv[1]), 1 << 30)

    async def put_all() -> None:
        while True:
            cid, _ = await store.put(os.urandom(300_000))
            print(cid, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(put_all())


asyncio.run(main())
