"""The blobs of a closed row are deleted once its end is on the disk, even if the caller has gone meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.blobs import BlobStore
from agent.delivery import DeliveryEngine, Journal, StepMaker
from agent.steps import KINDS
from tests.delivery.driver import no_steps
from tests.doubles import MemoryNet
from tests.support import eventually, load_pipeline

TEXT = """\
version: 1
name: p
steps:
  log: {tail: auto, wasm: {module: filters/wifi-join.wasm}}
  far: {after: log, when: data.no, process: {command: [/bin/x]}}
keep: {unmatched: 0}
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[DeliveryEngine[StepMaker]]:
    blobs = BlobStore(tmp_path / "blobs", 1 << 20)
    journal = Journal(tmp_path / "journal.db")

    async def fetch(cid: str, holders: list[str], timeout: float, size: int | None) -> None: ...

    made = DeliveryEngine("a", "a", MemoryNet().join("a", {}), journal, blobs, fetch, no_steps, kinds=KINDS)
    made.load()
    yield made
    journal.close()
    blobs.close()


async def test_a_cancelled_caller_leaves_no_blob(engine: DeliveryEngine[StepMaker]) -> None:
    pipeline = load_pipeline(TEXT)
    engine.definitions._versions[pipeline.name, pipeline.version] = pipeline
    blobs, write = engine.context.blobs, engine.journal.storage.write
    cid, size = await blobs.put(b"photo")
    before, after, last = threading.Event(), threading.Event(), threading.Event()
    released: list[asyncio.Task[None]] = []
    release = engine.context.blobs.release
    engine.context.blobs.release = lambda *a, **k: released.append(release(*a, **k))  # type: ignore[method-assign]
    taken = engine.journal.storage._queue.empty
    write(lambda db: before.wait(10))
    await eventually(taken)
    data = {"blobs": [{"name": "a", "cid": cid, "size": size}]}
    trigger = asyncio.create_task(engine.trigger(pipeline, "log", "x", data))
    await eventually(lambda: engine.journal.rows)
    write(lambda db: after.wait(10))  # in one transaction with the closing of the row
    before.set()
    await eventually(taken)
    trigger.cancel()
    await asyncio.gather(trigger, return_exceptions=True)
    write(lambda db: last.wait(10))  # in the next transaction
    after.set()
    await eventually(lambda: released)
    await released[0]
    last.set()
    await eventually(lambda: not blobs.has(cid))
