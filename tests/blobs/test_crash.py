"""A store whose process is killed keeps everything that it said it had stored, and nothing half."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.blobs import hash_bytes
from tests.blobs.conftest import MakeStore


async def test_acknowledged_blobs_survive_a_kill_and_none_is_half(make_store: MakeStore, tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for count in (1, 7, 20):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.blobs.putter", str(tmp_path / "blobs")), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(count):
            acknowledged.add((await process.stdout.readline()).decode().strip())
        process.kill()
        late = await process.stdout.read()
        acknowledged |= {line.decode() for line in late.splitlines(keepends=False) if len(line) == 59}
        await process.wait()
    store = make_store()
    contents = store.contents()
    assert acknowledged <= set(contents)
    for cid in contents:
        assert hash_bytes(await store.read(cid)).cid == cid
    assert list((store.root / "tmp").iterdir()) == []
    assert store.usage().bytes == sum(contents.values())
