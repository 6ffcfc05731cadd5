"""Stores that clean up after themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.blobs import BlobStore

MakeStore = Callable[..., BlobStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Opens stores by name; all are closed at the end."""
    opened: list[BlobStore] = []

    def make(name: str = "blobs", quota: int = 1 << 30) -> BlobStore:
        store = BlobStore(tmp_path / name, quota)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()
