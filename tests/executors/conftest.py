"""Stores, events, and the small programs that the executors run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.blobs import BlobStore
from agent.executors import Executors, Policy
from agent.model.event import BlobRef, Event
from agent.model.task import DockerTask, ProcessTask, Runner, StepInput, StepLog, Stream, WasmTask
from tests.executors.docker_image import busybox_image
from tests.executors.wasm_programs import build
from tests.filters.conftest import compiled, executor, filters, open_filter

__all__ = ["compiled", "executor", "filters", "open_filter"]

MakeInput = Callable[..., Awaitable[StepInput]]


class Lines(list[str]):
    """A StepLog that remembers: the lines of stderr, those of stdout, the agent's own, and how many programs began."""

    def __init__(self) -> None:
        super().__init__()
        self.stdout: list[str] = []
        self.agent: list[str] = []
        self.begun = 0

    def begin(self) -> StepLog:
        self.begun += 1
        return self

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        {"stderr": self, "stdout": self.stdout, "agent": self.agent}[stream].append(text)


class Counting(Lines):
    """A log that counts its lines, and the most lines between two turns of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = self.now = self.most = 0

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        self.lines += 1
        self.now += 1
        self.most = max(self.most, self.now)

    async def pulse(self) -> None:
        while True:
            self.now = 0
            await asyncio.sleep(0)


def runner_of(
    store: BlobStore, log: StepLog, task: WasmTask | DockerTask | ProcessTask, *, module: Path | None = None,
    wasm: Any = None, docker: Any = None, process: Any = None, policy: Policy = Policy(process=True),
) -> Runner:  # fmt: skip
    """A runner of the task by the executor that is given."""
    return Executors(wasm, docker, process, policy, store).runner(task, "test/step", log, module)


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
