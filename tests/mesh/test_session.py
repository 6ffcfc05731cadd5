"""The session when it breaks, closes twice in a row, or cannot open: calls wait, and nothing ends with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zenoh

from agent.errors import Unreachable
from agent.mesh import MeshSettings, session
from agent.mesh.session import MeshSession, links_of
from tests.mesh.building import Building, free_port
from tests.support import eventually


@pytest.fixture
async def alone(building: Building) -> AsyncIterator[MeshSession]:
    """The open session of a node without neighbours."""
    made = MeshSession(building.operator, MeshSettings(listen="127.0.0.1", port=free_port()))
    await made.open()
    yield made
    await made.close()


async def test_waiting_for_the_session_outlasts_another_close(building: Building) -> None:
    reopening = MeshSession(building.operator, MeshSettings())
    waiting = asyncio.create_task(reopening.up(10))
    await eventually(lambda: reopening._up._waiters)  # type: ignore[attr-defined]
    reopening._session = object()
    reopening._up.set()
    reopening._session = None  # the next reopening has the lock already
    reopening._up.clear()
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    reopening._session = opened = object()
    reopening._up.set()
    assert await waiting is opened


async def test_a_port_taken_meanwhile_is_tried_until_it_is_free(
    alone: MeshSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REOPEN_SECONDS", 0.0)
    monkeypatch.setattr(session, "REOPEN_PAUSE", 0.05)
    await alone.close()
    with socket.create_server(("127.0.0.1", alone._settings.port)):
        again = asyncio.create_task(alone.reopen())
        await eventually(lambda: alone.closed or again.done())
        assert str(alone._settings.port) in alone.closed
        assert not again.done()
    await again
    assert alone.zid
    assert not alone.closed


async def test_closing_ends_the_retries_of_a_session(alone: MeshSession) -> None:
    await alone.close()
    with socket.create_server(("127.0.0.1", alone._settings.port)):
        again = asyncio.create_task(alone.reopen())
        await eventually(alone._lock.locked)
        await alone.close()
        with pytest.raises(Unreachable):
            await again


async def test_a_session_that_breaks_while_opening_is_opened_again(alone: MeshSession) -> None:
    tried: list[Any] = []

    def declaration(opened: Any) -> Any:
        tried.append(opened)
        if len(tried) == 2:
            raise zenoh.ZError("it broke")
        return opened.liveliness().declare_token("edge/test")

    alone.declare(declaration)
    await alone.reopen()
    assert len(tried) == 3
    assert tried[1].is_closed()
    assert alone.zid == str(tried[2].zid())


async def test_first_opening_fails_where_the_port_is_taken(building: Building) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = MeshSession(building.operator, MeshSettings(listen="127.0.0.1", port=port))
        with pytest.raises(Unreachable) as refused:
            await made.open()
    assert refused.value.code == "mesh.open"
    assert refused.value.message == f"the mesh cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_session_that_broke_inside_has_no_links() -> None:
    class PanicException(BaseException):
        pass

    class Broken:
        @property
        def info(self) -> Any:
            raise PanicException

    assert links_of(Broken()) == []
