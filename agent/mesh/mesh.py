"""The mesh as other packages use it."""

from __future__ import annotations

import asyncio
import difflib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.errors import NotFound
from agent.identity import Identity, Trust
from agent.mesh import handshakes, wire
from agent.mesh.boot import next_boot
from agent.mesh.callbacks import Changed, Handler, LabelsOf
from agent.mesh.certificates import Certificates
from agent.mesh.document_exchange import DIGEST, PUT, DocumentExchange
from agent.mesh.documents import REMOVAL, Document, Documents
from agent.mesh.introducer import Endpoint
from agent.mesh.linking import Linking
from agent.mesh.liveness import HELLO, PresenceBook
from agent.mesh.logs import LogLine, LogStreams
from agent.mesh.rpc import Rpc
from agent.mesh.send_pool import SendPool
from agent.mesh.server import Server
from agent.mesh.session import Link, MeshSession
from agent.mesh.settings import MeshSettings
from agent.mesh.wire import Keys
from agent.model.node import NodeRecord


class Mesh:
    """This node's part in the mesh. Make it and use it on one event loop; `run` until cancelled; `ready`
    is set once it is open.
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
        self._send_pool = SendPool()
        self._certificates = Certificates(trust)
        self._server = Server(
            identity,
            certificates=self._certificates,
            boot=self.boot,
            keys=self._keys,
            settings=settings,
            send_pool=self._send_pool,
        )
        self._rpc = Rpc(self._session, self._certificates, self.boot, self._server, self._send_pool)
        self._presence = PresenceBook(
            identity,
            boot=self.boot,
            keys=self._keys,
            settings=settings,
            session=self._session,
            rpc=self._rpc,
            certificates=self._certificates,
        )
        self._linking = Linking(self._session, settings, self._presence, state / "mesh" / "peers.json")
        self._logs = LogStreams(self._session, self._certificates, self.boot, self._keys, self._server.refusals)
        self.documents = Documents(identity, trust, state / "documents", self._server.refusals)
        self._exchange = DocumentExchange(self.documents, self.call, self.live, settings.exchange_every)
        self.documents.on_change(self._document)
        self._presence.on_change(lambda record, alive: self._exchange.met(record.id) if alive else None)
        self.serve(HELLO, self._presence.hello, limit=wire.MAX_RECORD)
        self.serve(DIGEST, self.documents.compare)
        self.serve(PUT, self.documents.accept)

    async def run(self) -> None:
        """Take part in the mesh until cancelled; raises Unreachable where its port is taken."""
        loop = asyncio.get_running_loop()
        self._session.declare(self._session.link_events(loop))
        self._session.declare(self._server.declaration(loop))
        for declaration in self._presence.declarations(loop):
            self._session.declare(declaration)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._server.run())
                tasks.create_task(self._presence.run())
                tasks.create_task(self._exchange.run())
                tasks.create_task(self._logs.run())
                self._session.denied = set(self.trust.removed)
                self._presence.announce({"endpoints": await self._linking.advertise()})
                await self._session.open()
                tasks.create_task(self._linking.run())
                self._presence.publish()
                self.ready.set()
        finally:
            self.ready.clear()
            await self._session.close()
            self._send_pool.close()

    # Nodes ---------------------------------------------------------------------------------------------------

    @property
    def me(self) -> NodeRecord:
        """This node's own record, with the labels that selectors see."""
        return self._presence.view(self._presence.me)

    def show_labels(self, labels_of: LabelsOf) -> None:
        """Set the source of signed labels of nodes; without it the labels in the nodes' records are used."""
        self._presence.labels_of = labels_of

    def announce(self, **changes: Any) -> None:
        """Change fields of this node's record (labels, capacity, cameras, endpoints, version); published
        at once.
        """
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

    def strangers(self) -> list[NodeRecord]:
        """Members of this mesh that speak another protocol, by their last records: this node refuses them."""
        return list(self._presence.strangers.values())

    def awaited(self) -> set[str]:
        """Ids of the nodes that this node has met, in this run or before, and that are not live now."""
        return self._linking.awaited()

    def is_live(self, node_id: str) -> bool:
        """Whether a node is alive: its token is there and its signed record is fresh."""
        return self._presence.is_live(node_id)

    def is_removed(self, node_id: str) -> bool:
        """Whether a node was removed from the mesh: unlike an absent node it does not come back."""
        return node_id in self.trust.removed

    def since_record(self, node_id: str) -> float:
        """Seconds since a node's last record came; 0 for this node. Raises KeyError for an unknown node."""
        return self._presence.since_record(node_id)

    def on_change(self, callback: Changed) -> None:
        """Call `callback(record, alive)` on the loop when a node comes, goes or changes."""
        self._presence.on_change(callback)

    def reconsider(self, node_id: str | None = None) -> None:
        """Call the listeners again for one node, or for all: labels changed."""
        self._presence.reconsider(node_id)

    # Requests ------------------------------------------------------------------------------------------------

    def serve(self, verb: str, handler: Handler, *, limit: int = wire.MAX_BODY) -> None:
        """Answer `verb` with `handler(peer, body)`; `limit` bounds bodies of requests and replies, in bytes."""
        self._server.serve(verb, handler, limit=limit)

    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
        """Ask a node; a call to this node itself goes straight to the handler.

        Raises Unreachable (not linked, no valid answer within `timeout` seconds), or the EdgeError that
        the other side raised.
        """
        return await self._rpc.call(node_id, verb, body, timeout=timeout)

    @property
    def refused(self) -> dict[str, int]:
        """Refused requests and handshakes since the start, by reason."""
        return dict(self._server.refusals.counts + Counter(handshakes.counts))  # a copy, since a thread adds to it

    # Links ---------------------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """The direct links of this node."""
        return self._session.links()

    @property
    def closed(self) -> str:
        """The reason why the mesh has been closed for a minute or more although it is retried; else empty."""
        return self._session.closed

    @property
    def denied(self) -> set[str]:
        """The ids of removed nodes that this node's session refuses; `status` shows nodes that do not refuse them yet."""
        return set(self._session.denied)

    def endpoints(self) -> list[Endpoint]:
        """The addresses that are dialled when their node is not linked, for `status`."""
        return self._linking.introducer.known()

    def add_endpoint(self, address: str) -> None:
        """Dial `host:port` (from discovery or `--join`) at once, and remember it once a node of this mesh answered.

        Raises ConfigError for a text that is not an address.
        """
        self._linking.add(address)

    async def reopen(self) -> None:
        """Open the session again and keep all declarations; a pause is announced, so that other nodes do not count
        this node lost.
        """
        await self._linking.reopen()

    async def use(self, identity: Identity) -> None:
        """Go on with a renewed certificate or a new name of the same key."""
        self._session.identity = self._server.identity = self.documents.identity = identity
        self._certificates.forget_ours()
        self._presence.become(identity)
        await self.reopen()

    # Documents and logs --------------------------------------------------------------------------------------

    async def spread(self, document: Document, *, timeout: float = 5.0) -> list[NodeRecord]:
        """Send a document to all live nodes; returns those that did not confirm it within `timeout`
        seconds.
        """
        return await self._exchange.spread(document, timeout=timeout)

    def publish_log(self, execution: str, line: str) -> None:
        """Publish a line of an execution's log to its followers; raises NotFound for a malformed
        execution id and Refused for a line over 32 KiB.
        """
        self._logs.publish(execution, line)

    def tail_logs(self, execution: str, node_id: str = "") -> AsyncIterator[LogLine]:
        """The lines published from now on, by `node_id` alone where it is given; close the iterator to
        stop.
        """
        return self._logs.follow(execution, node_id)

    def _document(self, document: Document) -> None:
        if document.kind == REMOVAL:
            if document.removed:
                self.reconsider(document.name)
            else:
                self._linking.deny(document.name)
