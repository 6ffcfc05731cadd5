"""The record that the parts of delivery share on one node."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.blobs import Registry
from agent.definitions import Definitions
from agent.delivery.changes import Changes
from agent.delivery.journal import Journal
from agent.delivery.lifecycle import Lifecycle
from agent.delivery.new_rows import RowMaker
from agent.delivery.rows import Row
from agent.model.node import NodeRecord
from agent.model.pipeline import Pipeline, Step

Handler = Callable[[Any, bytes], Awaitable[bytes]]


class MeshLike(Protocol):
    """The mesh as delivery uses it."""

    def live(self) -> list[NodeRecord]: ...
    def is_live(self, node_id: str) -> bool: ...
    def is_removed(self, node_id: str) -> bool: ...
    def serve(self, verb: str, handler: Handler) -> None: ...
    def on_change(self, callback: Callable[[NodeRecord, bool], None]) -> None: ...
    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes: ...


class BlobsLike(Protocol):
    """The blob store as delivery uses it."""

    needs: Registry

    def has(self, cid: str) -> bool: ...
    def check_size(self, cid: str, declared: int | None) -> None: ...
    def pin(self, cid: str, owner: str) -> None: ...
    def unpin(self, owner: str) -> None: ...
    async def read(self, cid: str) -> bytes: ...
    async def put(self, data: bytes) -> tuple[str, int]: ...
    def release(self, cids: Iterable[str], *, after: Future[Any] | None = None) -> Future[None]: ...
    def retry(self) -> None: ...


Fetch = Callable[[str, list[str], float, int | None], Awaitable[Any]]
"""Bring a blob here: (cid, holders, timeout in seconds, declared size in bytes); raises BlobError or Unreachable."""


@dataclass(frozen=True, slots=True)
class Context:
    """One node as delivery sees it. A part calls `lifecycle` and hands its changes to `apply`."""

    node_id: str
    node_name: str
    mesh: MeshLike
    journal: Journal
    definitions: Definitions
    blobs: BlobsLike
    fetch: Fetch
    rows: RowMaker
    lifecycle: Lifecycle
    apply: Callable[[Changes], Future[Any]]
    """Write changes and start their actions at once; resolves when they are on the disk."""
    apply_written: Callable[[Changes], Awaitable[None]]
    """Write changes, wait until they are on the disk, then start their actions."""

    def step_of(self, row: Row) -> tuple[Pipeline, Step] | None:
        """The row's pipeline and step, in the row's own version."""
        return self.definitions.step(row.pipeline, row.version, row.step)
