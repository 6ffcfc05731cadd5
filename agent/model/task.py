"""Tasks: what a step runs. Sizes are bytes and durations seconds once a pipeline is loaded."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from agent.model.event import BlobRef, Event

MIB = 1 << 20


class Limits(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Limits of one program, always on. `outputs` bounds all files of one event together, in bytes."""

    memory: int = 64 * MIB
    timeout: float = 10.0
    stdout: int = 1 * MIB
    stderr: int = 64 * 1024
    outputs: int = 16 * MIB
    files: int = 32
    cpus: float = 1.0
    pids: int = 64


class WasmTask(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A WASI preview 1 command. `module` is a path in a pipeline file and a CID once applied."""

    module: str
    args: list[str] = []
    limits: Limits = Limits()


class DockerTask(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A warm container. `image` is a name in a pipeline file and an image id (`sha256:…`) once applied."""

    image: str
    args: list[str] = []
    env: dict[str, str] = {}
    gpus: int = 0
    limits: Limits = Limits(memory=1024 * MIB, timeout=30.0, outputs=64 * MIB, cpus=2.0)


class ProcessTask(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """A plain executable; refused unless the node's owner allows processes."""

    command: list[str]
    env: dict[str, str] = {}
    limits: Limits = Limits(memory=1024 * MIB, timeout=30.0, outputs=64 * MIB)


class CameraTask(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Photos from every camera of the node: `shots` of them, `every` seconds apart."""

    shots: int = 1
    every: float = 2.0
    cameras: list[str] = []


class StepInput(msgspec.Struct):
    """One event for a program; each blob's `path` is a verified, read-only file on this host."""

    event: Event
    blobs: list[BlobRef] = []


class StepOutput(msgspec.Struct):
    """One event that a program answered with; `blobs` have name, cid, type and size filled, `data` has no `blobs`."""

    type: str
    data: dict[str, Any]
    blobs: list[BlobRef] = []


class LineEvent(msgspec.Struct):
    """One event of a source filter; `line` counts from 1 within the batch that was fed.

    `at` is where that line starts in the batch, in bytes; -1 where the filter leaves it to be counted.
    """

    line: int
    type: str
    data: dict[str, Any] = {}
    at: int = -1


class BlobWriter(Protocol):
    """Where executors put the files that programs wrote."""

    async def put_fd(self, fd: int, *, limit: int) -> tuple[str, int]:
        """Copy an open regular file while hashing it; returns (cid, size); raises BlobError above `limit` bytes."""
        ...

    async def put(self, data: bytes) -> tuple[str, int]:
        """Store bytes; returns (cid, size)."""
        ...


class LogSink(Protocol):
    """Where a program's stderr goes, line by line."""

    def __call__(self, line: str, /) -> None: ...


class Runner(Protocol):
    """A step's program on this node, ready for events."""

    in_flight: int
    """How many events may be under way at once."""

    async def start(self) -> None:
        """Make it warm; raises Refused (policy, no engine) or StepFailed."""
        ...

    async def run(self, item: StepInput, log: LogSink) -> list[StepOutput]:
        """Answer one event. Raises StepFailed: `final` when the program itself said so, else worth another run."""
        ...

    async def close(self) -> None:
        """Stop it and leave nothing behind."""
        ...


class FilterRunner(Protocol):
    """A source filter: raw lines in, line events out."""

    async def feed(self, lines: bytes, log: LogSink) -> list[LineEvent]:
        """Run one batch of whole lines (each ending in a newline). Raises StepFailed."""
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...
