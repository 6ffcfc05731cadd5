"""The mesh as other houses see it."""

from __future__ import annotations

import asyncio
import difflib
import logging
from pathlib import Path
from typing import Any

from agent.errors import NotFound
from agent.identity import Identity, Trust
from agent.mesh import presence, wire
from agent.mesh.boot import next_boot
from agent.mesh.certificates import Certificates
from agent.mesh.ports import Changed, Handler, LabelsOf
from agent.mesh.presence import PresenceBook
from agent.mesh.rpc import Rpc
from agent.mesh.sender import Sender
from agent.mesh.server import Server
from agent.mesh.session import Link, MeshSession
from agent.mesh.settings import MeshSettings
from agent.mesh.wire import Keys
from agent.model.node import NodeRecord

logger = logging.getLogger(__name__)


class Mesh:
    """This node's part in the mesh. Make it and use it on one event loop; `run` until cancelled; `ready` is set
    once it is open.
    """

    def __init__(self, identity: Identity, trust: Trust, settings: MeshSettings, state: Path) -> None:
        """`state` is this node's state folder; the mesh keeps its files under `<state>/mesh` and
        `<state>/documents`.
        """
        self.ready = asyncio.Event()
        self.boot = next_boot(state / "mesh")
        self.trust, self.settings = trust, settings
        self._keys = Keys(identity.mesh_id)
        self._session = MeshSession(identity, settings)
        self._sender = Sender()
        self._certificates = Certificates(trust)
        self._server = Server(
            identity,
            certificates=self._certificates,
            boot=self.boot,
            keys=self._keys,
            settings=settings,
            sender=self._sender,
        )
        self._rpc = Rpc(self._session, self._certificates, self.boot, self._server, self._sender)
        self._presence = PresenceBook(
            identity,
            boot=self.boot,
            keys=self._keys,
            settings=settings,
            session=self._session,
            rpc=self._rpc,
            certificates=self._certificates,
        )
        self.serve(presence.HELLO, self._presence.hello, limit=wire.MAX_RECORD)

    async def run(self) -> None:
        """Take part in the mesh until cancelled; raises Unreachable where its port is taken."""
        loop = asyncio.get_running_loop()
        self._session.declare(self._server.declaration(loop))
        for declaration in self._presence.declarations(loop):
            self._session.declare(declaration)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._server.run())
                tasks.create_task(self._presence.run())
                await self._session.open()
                self._presence.publish()
                self.ready.set()
        finally:
            self.ready.clear()
            await self._session.close()
            self._sender.close()

    # Nodes ---------------------------------------------------------------------------------------------------

    @property
    def me(self) -> NodeRecord:
        """This node's own record, with the labels that selectors see."""
        return self._presence.view(self._presence.me)

    @property
    def labels_of(self) -> LabelsOf | None:
        """Where labels come from: set it to what reads the signed label documents; else the records' own are shown."""
        return self._presence.labels_of

    @labels_of.setter
    def labels_of(self, labels_of: LabelsOf | None) -> None:
        self._presence.labels_of = labels_of

    def announce(self, **changes: Any) -> None:
        """Change fields of this node's record (labels, capacity, cameras, endpoints, version); published at once."""
        self._presence.announce(changes)

    def live(self) -> list[NodeRecord]:
        """The alive nodes, this one included and first."""
        return self._presence.live()

    def known(self) -> list[NodeRecord]:
        """The last records of all nodes seen since the start, alive or not."""
        return self._presence.records()

    def node(self, id_or_name: str) -> NodeRecord:
        """The last record of a node, alive or not; raises NotFound with near names."""
        records = self._presence.records()
        named = [r for r in records if id_or_name in (r.id, r.name)]
        if named:
            return max(named, key=lambda r: self.is_live(r.id))
        near = difflib.get_close_matches(id_or_name, [r.name for r in records], n=3, cutoff=0.5)
        raise NotFound(
            f"no node is called {id_or_name!r}",
            hint=f"did you mean {', '.join(near)}?" if near else "see `edge-agent nodes`",
        )

    def is_live(self, node_id: str) -> bool:
        """Whether a node is alive: its token is there and its signed record is fresh."""
        return self._presence.is_live(node_id)

    def on_change(self, callback: Changed) -> None:
        """Call `callback(record, alive)` on the loop when a node comes, goes or changes."""
        self._presence.on_change(callback)

    def reconsider(self, node_id: str | None = None) -> None:
        """Labels of a node changed (or of all): tell those who listen."""
        self._presence.reconsider(node_id)

    # Requests ------------------------------------------------------------------------------------------------

    def serve(self, verb: str, handler: Handler, *, limit: int = wire.MAX_BODY) -> None:
        """Answer `verb` by `handler(peer, body)`; `limit` bounds bodies of requests and replies, in bytes."""
        self._rpc.serve(verb, handler, limit=limit)

    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
        """Ask a node; a call to this node itself goes straight to the handler.

        Raises Unreachable (not linked, no valid answer within `timeout` seconds), or the EdgeError that the other
        side raised.
        """
        return await self._rpc.call(node_id, verb, body, timeout=timeout)

    @property
    def refused(self) -> dict[str, int]:
        """How often what was refused since the start, by reason."""
        return dict(self._server.refusals.counts)

    # Links ---------------------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """The direct links of this node."""
        return self._session.links()
