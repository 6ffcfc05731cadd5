"""Nodes of one real mesh on loopback: real certificates, real zenoh sessions over mTLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import zenoh

from agent.identity import Identity, IdentityStore, Trust
from agent.mesh import Mesh, MeshSettings
from agent.mesh.session import close_session, link_config, open_session
from agent.model.node import ROLE_MEMBER
from tests.support import eventually

FAST: dict[str, Any] = {"publish_every": 1.0, "redial_min": 0.2, "redial_max": 1.0, "exchange_every": 5.0}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Building:
    """Makes identities and meshes; `close` stops what runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operator = IdentityStore(folder / "ids" / "hall").create_mesh("hall")
        self.ports: dict[str, int] = {}
        self.running: dict[str, tuple[Mesh, asyncio.Task[None]]] = {}

    def identity(self, name: str, role: str = ROLE_MEMBER) -> Identity:
        if name == self.operator.name:
            return self.operator
        store = IdentityStore(self.folder / "ids" / name)
        if (known := store.load()) is not None:
            return known
        key = store.pending_key()
        made = self.operator.issue(key.public_key(), role=role, name=name)
        return store.adopt(key, made, self.operator.ca_der, name)

    def mesh(self, name: str, *, role: str = ROLE_MEMBER, join: tuple[str, ...] = (), **settings: Any) -> Mesh:
        """A mesh that does not run yet, with the state and the port of this name."""
        port = self.ports.setdefault(name, free_port())
        identity = self.identity(name, role)
        made = MeshSettings(listen="127.0.0.1", port=port, join=[self.address(n) for n in join], **{**FAST, **settings})
        return Mesh(identity, Trust(identity.ca_der), made, self.folder / "state" / name)

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports.setdefault(name, free_port())}"

    async def start(self, name: str, mesh: Mesh | None = None, **options: Any) -> Mesh:
        mesh = mesh or self.mesh(name, **options)
        task = asyncio.create_task(mesh.run())
        self.running[name] = (mesh, task)
        ready = asyncio.create_task(mesh.ready.wait())
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            task.result()
        return mesh

    async def stop(self, name: str) -> None:
        _, task = self.running.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def pair(self, **options: Any) -> tuple[Mesh, Mesh]:
        """The operator `hall` and the member `porch`, linked and alive to each other."""
        hall = await self.start("hall")
        porch = await self.start("porch", join=("hall",), **options)
        await met(hall, porch)
        return hall, porch

    async def close(self) -> None:
        for name in list(self.running):
            await self.stop(name)

    @contextlib.asynccontextmanager
    async def raw_session(self, identity: Identity, *join: str) -> AsyncIterator[Any]:
        """A bare zenoh session with a member's certificate: what a thief of that node could open."""
        session = await open_session(
            {
                **link_config(identity, 6.0),
                "listen/endpoints": [],
                "connect/endpoints": [f"tls/{self.address(n)}" for n in join],
                "connect/timeout_ms": 5000,
            }
        )
        try:
            await eventually(lambda: len(session.info.links()) >= len(join))
            yield session
        finally:
            await close_session(session)


async def met(*meshes: Mesh, timeout: float = 15.0) -> None:
    """Wait until all of them see all others alive."""
    ids = {m.me.id for m in meshes}
    await eventually(lambda: all(ids <= {r.id for r in m.live()} for m in meshes), timeout)


def quiet(callback: Any) -> Any:
    """A zenoh handler that runs in zenoh's own thread."""
    return zenoh.handlers.Callback(callback, indirect=False)
