"""A blob of 50 MB between two agents: requested, sent in signed replies over mTLS, verified per leaf, stored on disk."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time

from bench.figure import Figure
from bench.pair import Pair, pair

SIZE = 50_000_000


async def _measure(rounds: int) -> list[float]:
    seconds: list[float] = []
    async with pair() as made:
        for _ in range(rounds):
            cid = await asyncio.to_thread(_add, made)
            began = time.perf_counter()
            path = await made.near.stores.exchange.fetch(cid, [made.far], timeout=60)
            seconds.append(time.perf_counter() - began)
            if path.stat().st_size != SIZE:
                raise RuntimeError("the blob is not whole")
            await made.near.stores.blobs.delete(cid)
            await asyncio.sleep(0.5)
    return seconds


def _add(made: Pair) -> str:
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(SIZE))
        file.seek(0)
        return str(made.others.ask("far", "upload", "/v1/blobs", file)["cid"])


def measure(*, quick: bool = False) -> list[Figure]:
    """Megabytes a second, the best of several rounds."""
    seconds = asyncio.run(_measure(3 if quick else 8))
    rates = sorted(SIZE / s / 1e6 for s in seconds)
    return [
        Figure(
            name="blob",
            what="50 MB blob between two nodes, verified, on disk",
            figure=rates[-1],
            goal=400.0,
            unit="MB/s",
            sense="at least",
            bound_by="not profiled",
            details={"rates": [round(r) for r in rates]},
        ),
    ]
