from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.node import entry
from tests.filters.conftest import filters
from tests.node.site import Site

__all__ = ["filters", "quick_stop", "site"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def quick_stop() -> Iterator[None]:
    """A test leaves no running loop to the next one."""
    yield
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.fixture
async def restored_process() -> AsyncIterator[None]:
    """Undoes what `run_agent` sets for its process."""
    umask = os.umask(0)
    yield
    os.umask(umask)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture(autouse=True)
def own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the file descriptors of this process to pytest."""
    monkeypatch.setattr(entry, "watch_handshakes", lambda: None)
