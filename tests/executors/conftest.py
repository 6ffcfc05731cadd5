"""Stores, events, and the small programs that the executors run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from agent.blobs import BlobStore
from agent.model.event import BlobRef, Event
from agent.model.task import StepInput
from tests.executors.docker_image import busybox_image
from tests.executors.wasm_programs import build
from tests.filters.conftest import compiled, executor, filters, open_filter

__all__ = ["compiled", "executor", "filters", "open_filter"]

MakeInput = Callable[..., Awaitable[StepInput]]


class Lines(list[str]):
    """A log sink that remembers."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    opened = BlobStore(tmp_path / "blobs", 1 << 30)
    yield opened
    opened.close()


@pytest.fixture
async def make_input(store: BlobStore) -> MakeInput:
    """Makes an event `e<n>` with the given files as its blobs."""
    count = 0

    async def make(*files: tuple[str, bytes], **data: object) -> StepInput:
        nonlocal count
        count += 1
        blobs = []
        for name, content in files:
            cid, size = await store.put(content)
            blobs.append(BlobRef(name, cid, "text/plain", size, str(store.path(cid))))
        event = Event(id=f"e{count}", source="/n/p/s", type="test.input", time="2026-01-01T00:00:00Z", data=dict(data))
        return StepInput(event, blobs)

    return make


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """A built WASM program of tests/executors/programs by name."""
    return build


@pytest.fixture(scope="session")
def busybox() -> str:
    """A small image with a shell; without a Docker engine the test fails, since the story's tests need one."""
    return busybox_image()
