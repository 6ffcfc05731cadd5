"""Which nodes are alive: liveliness tokens and signed presence records.

Alive means: the token is there and a validly signed record is fresh by this node's monotonic clock. A
token alone proves nothing, since any member may declare any key; a record alone may be an old one played
again. So a record of a boot that is new to this node counts only after the other node has answered a signed
request (`mesh.hello`). A node that once counted as dead is alive again only when it has answered one, or a newer
record of it has arrived: while links are re-routed, the tokens of absent nodes come and go.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import zenoh

from agent import PROTOCOL, ticks
from agent.backoff import Backoff, doubling
from agent.errors import EdgeError, IdentityError
from agent.identity import Identity, PeerIdentity
from agent.mesh import wire
from agent.mesh.boot import BOOT
from agent.mesh.callbacks import Changed, LabelsOf
from agent.mesh.certificates import Certificates
from agent.mesh.loop import soon
from agent.mesh.rpc import Rpc
from agent.mesh.session import MeshSession
from agent.mesh.settings import MeshSettings
from agent.mesh.wire import Keys, Presence, Sealed
from agent.model.health import usable
from agent.model.labels import VALUE
from agent.model.node import NodeRecord

logger = logging.getLogger(__name__)

HELLO = "mesh.hello"
MAX_NODES = 1024
NODE = re.compile(r"[a-z2-7]{20}\Z")
"""The form of a node id (agent/identity/keys.py); any member may declare a token of any other name."""
MAX_PAUSE = 60.0
BLIP = 0.3
"""Seconds that a token may be gone before its node counts as dead: links are re-routed meanwhile."""
REOPEN_GRACE = 8.0
"""Seconds that nodes known before count as alive while this node's session reopens."""
_HELLO_TIMEOUT = 3.0
_BACKOFF = Backoff(doubling(0.2, 3.0))
_MISSES = 3
"""Requests in a row without a route to a node after which it counts as dead, although its token exists."""


@dataclass(slots=True, eq=False)
class _Node:
    """The state of another node as this one knows it."""

    token: bool = False
    grace: float = 0.0
    record: NodeRecord | None = None
    seen: float = 0.0
    confirmed: str = ""
    asking: bool = False
    lost: bool = False
    misses: int = 0
    unrouted: bool = False
    retry_at: float = 0.0
    told: tuple[NodeRecord, bool] | None = None


class PresenceBook:
    """Publishes this node's record and keeps those of the others. Use it on one event loop."""

    def __init__(
        self,
        identity: Identity,
        *,
        boot: str,
        keys: Keys,
        settings: MeshSettings,
        session: MeshSession,
        rpc: Rpc,
        certificates: Certificates,
    ) -> None:
        self.me = NodeRecord(
            id=identity.node_id,
            name=identity.name,
            role=identity.role,
            version=settings.version,
            protocol=PROTOCOL,
            boot=boot,
            certificate=identity.cert_der,
        )
        self.labels_of: LabelsOf | None = None
        self._keys, self._settings, self._session, self._rpc, self._certificates = (
            keys, settings, session, rpc, certificates,
        )  # fmt: skip
        self._nodes: dict[str, _Node] = {}
        self._views: dict[str, tuple[NodeRecord, dict[str, str], NodeRecord]] = {}
        """By node: its record, its signed labels, and the view that they make."""
        rpc.on_no_way = self.doubt
        self._callbacks: list[Changed] = []
        self.strangers: dict[str, NodeRecord] = {}
        """Members that speak another protocol: their records are refused."""
        self._dirty = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    # This node -----------------------------------------------------------------------------------------------

    def announce(self, changes: dict[str, Any]) -> None:
        """Change this node's record; raises TypeError for an unknown field. Published at once, several
        changes together.
        """
        changed = msgspec.structs.replace(self.me, **changes)
        if changed != self.me:
            self.me = changed
            self._dirty.set()
            self._tell(self.view(self.me), True)

    def sealed(self, pause: float = 0.0) -> bytes:
        """This node's signed record as it travels, with the next sequence number."""
        self.me = msgspec.structs.replace(self.me, sequence=self.me.sequence + 1)
        content = wire.encode(Presence(self.me, self._session.zid, pause))
        return wire.encode(Sealed(content, self._session.identity.sign(wire.PRESENCE + content)))

    def publish(self, pause: float = 0.0) -> None:
        """Publish this node's record now; `pause` announces seconds of absence."""
        self._session.put(self._keys.presence(self.me.id), self.sealed(pause))

    # The others ----------------------------------------------------------------------------------------------

    def view(self, record: NodeRecord) -> NodeRecord:
        """The record with the labels that selectors may see: the signed and the reserved labels."""
        signed = self.labels_of(record.id) if self.labels_of is not None else record.labels
        known = self._views.get(record.id)
        if known is not None and known[0] is record and known[1] == signed:
            return known[2]  # the choice of a node asks for every node with every event
        labels = {**signed, "node": record.name, "id": record.id}
        if VALUE.match(arch := record.labels.get("arch", "")) and arch:
            labels["arch"] = arch
        made = msgspec.structs.replace(record, labels=labels)
        if len(self._views) > MAX_NODES:
            self._views.clear()
        self._views[record.id] = (record, dict(signed), made)
        return made

    def live(self) -> list[NodeRecord]:
        """The alive nodes, this one first."""
        now = time.monotonic()
        return [
            self.view(self.me),
            *(self.view(n.record) for n in self._nodes.values() if n.record is not None and self._alive(n, now)),
        ]

    def is_live(self, node: str) -> bool:
        """Whether a node is alive now."""
        known = self._nodes.get(node)
        return node == self.me.id or (known is not None and self._alive(known, time.monotonic()))

    def since_record(self, node: str) -> float:
        """Seconds since a node's last record came; 0 for this node. Raises KeyError for an unknown node."""
        return 0.0 if node == self.me.id else time.monotonic() - self._nodes[node].seen

    def records(self) -> list[NodeRecord]:
        """The last records of all nodes seen since the start, alive or not, this one first; none of a removed node."""
        others = (n.record for n in self._nodes.values() if n.record is not None)
        return [self.view(self.me), *(self.view(r) for r in others if r.id not in self.removed)]

    def is_unrouted(self, node: str) -> bool:
        """Whether a node is silent, or requests find no route to it; False for a node that is only slow."""
        known = self._nodes.get(node)
        if known is None:
            return True
        silent = not known.token and time.monotonic() > known.grace
        return silent or (known.unrouted and not self._alive(known, time.monotonic()))

    def on_change(self, callback: Changed) -> None:
        """Call back on the loop for each change."""
        self._callbacks.append(callback)

    @property
    def removed(self) -> set[str]:
        """The ids of the nodes that were removed from the mesh."""
        return self._certificates.trust.removed

    def become(self, identity: Identity) -> None:
        """Use a renewed certificate or a new name of this node."""
        self.announce({"name": identity.name, "role": identity.role, "certificate": identity.cert_der})

    def reconsider(self, node: str | None = None) -> None:
        """Evaluate one node again, or all nodes: labels changed or a node was removed."""
        for node_id in [node] if node is not None else [self.me.id, *self._nodes]:
            if node_id == self.me.id:
                self._tell(self.view(self.me), True)
            elif node_id in self._nodes:
                self._consider(node_id)

    def doubt(self, node_id: str) -> None:
        """Ask a node whether it is there: a request found no route to it."""
        node = self._nodes.get(node_id)
        if node is not None and not node.unrouted:
            self._confirm(node_id, node, again=True)

    def expect_silence(self, seconds: float) -> None:
        """Count the other nodes as alive for this many seconds: this node's session reopens."""
        until = time.monotonic() + seconds
        for node_id, node in self._nodes.items():
            if node.token:
                node.token, node.grace = False, max(node.grace, until)
                asyncio.get_running_loop().call_later(seconds + 0.01, self._consider, node_id)

    async def hello(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `mesh.hello` with this node's record."""
        del peer, body
        return self.sealed()

    # Running -------------------------------------------------------------------------------------------------

    def declarations(self, loop: asyncio.AbstractEventLoop) -> list[Callable[[Any], Any]]:
        """The declarations for a session: this node's token, and subscriptions to tokens and records."""
        return [
            lambda s: s.declare_subscriber(
                self._keys.presence(), zenoh.handlers.Callback(lambda m: self._on_record(loop, m), indirect=False)
            ),
            lambda s: s.liveliness().declare_subscriber(
                self._keys.alive(),
                zenoh.handlers.Callback(lambda m: self._on_token(loop, m), indirect=False),
                history=True,
            ),
            lambda s: s.liveliness().declare_token(self._keys.alive(self.me.id)),
        ]

    async def run(self) -> None:
        """Publish on change and every ten seconds, and watch the others, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                tasks.create_task(self._watch())
                while True:
                    self.publish()
                    self._dirty.clear()
                    try:
                        async with asyncio.timeout(ticks.until(self._settings.publish_every)):
                            await self._dirty.wait()
                            await asyncio.sleep(0.02)  # several changes come together
                    except TimeoutError:
                        pass
            finally:
                self._tasks = None

    async def _watch(self) -> None:
        """Notice records that grow old. Tokens, grace periods and retries have their own timers."""
        fresh, stale = self._settings.publish_every * 1.5, self._settings.stale_after
        while True:
            now = time.monotonic()
            turns = [n.seen + age for n in self._nodes.values() for age in (fresh, stale) if n.seen + age > now]
            await ticks.sleep(min(max(min(turns, default=fresh + now) - now, 0.5), fresh / 2))
            for node_id, node in list(self._nodes.items()):
                self._consider(node_id)
                self._confirm(node_id, node)

    def _on_token(self, loop: asyncio.AbstractEventLoop, sample: Any) -> None:
        node_id = str(sample.key_expr).rpartition("/")[2]
        soon(loop, self._token, node_id, sample.kind == zenoh.SampleKind.PUT)

    def _on_record(self, loop: asyncio.AbstractEventLoop, sample: Any) -> None:
        if len(sample.payload) <= wire.MAX_RECORD:
            node_id = str(sample.key_expr).rpartition("/")[2]
            soon(loop, self._pushed, node_id, sample.payload.to_bytes())

    def _token(self, node_id: str, there: bool) -> None:
        if node_id == self.me.id:
            return
        if not NODE.match(node_id):
            self._rpc.refusals.note("token that does not name a node")
            return
        if node_id not in self._nodes and not (there and self._room()):
            return
        node = self._nodes.setdefault(node_id, _Node())
        node.token = there
        if there:
            node.retry_at = 0.0
            self._confirm(node_id, node, again=True)
        else:
            now = time.monotonic()
            node.grace = max(node.grace, now + BLIP)
            asyncio.get_running_loop().call_later(node.grace - now + 0.01, self._consider, node_id)
        self._consider(node_id)

    def _room(self) -> bool:
        """Make room for one more node: drop the first node that never proved its identity, if there are too many."""
        if len(self._nodes) >= MAX_NODES:
            unproven = next((i for i, n in self._nodes.items() if n.record is None), None)
            if unproven is None:
                return False
            del self._nodes[unproven]
        return True

    def _pushed(self, node_id: str, raw: bytes) -> None:
        if node_id == self.me.id:
            return
        node = self._nodes.get(node_id)
        try:
            presence = self._opened(node_id, raw)
        except (IdentityError, msgspec.MsgspecError) as error:
            self._rpc.refusals.note("presence record that is forged or damaged", node_id)
            logger.debug("record of %s refused: %s", node_id, error)
            return
        if node is None:
            return  # no token: its first hello brings the record
        if presence.record.boot == node.confirmed:
            self._take(node_id, node, presence)
        else:
            node.retry_at = 0.0
            self._confirm(node_id, node, again=True)

    def _opened(self, node_id: str, raw: bytes) -> Presence:
        """The verified content of a record; name, role and certificate are those that the CA signed."""
        sealed = wire.decode(Sealed, raw)
        presence = wire.decode(Presence, sealed.content)
        record = presence.record
        if record.id != node_id or not BOOT.match(record.boot):
            raise IdentityError("the record is for another node")
        certified = Sealed(sealed.content, sealed.signature, record.certificate)
        peer = self._certificates.verify(node_id, certified, wire.PRESENCE)
        self.strangers.pop(node_id, None)
        if record.protocol != PROTOCOL:
            if len(self.strangers) < MAX_NODES:
                self.strangers[node_id] = msgspec.structs.replace(record, name=peer.name)
            raise IdentityError(f"{peer.name} speaks protocol {record.protocol}")
        record = msgspec.structs.replace(record, name=peer.name, role=peer.role, health=usable(record.health))
        return Presence(record, presence.session, min(presence.pause, MAX_PAUSE) if presence.pause > 0 else 0.0)

    def _take(self, node_id: str, node: _Node, presence: Presence) -> None:
        record, old = presence.record, node.record
        if old is not None and (record.boot, record.sequence) <= (old.boot, old.sequence):
            return
        node.record, node.seen, node.lost = record, time.monotonic(), False
        if presence.pause:
            node.grace = max(node.grace, node.seen + presence.pause)
            asyncio.get_running_loop().call_later(presence.pause + 0.01, self._consider, node_id)
        self._consider(node_id)

    def _confirm(self, node_id: str, node: _Node, *, again: bool = False) -> None:
        """Ask a node that has a token for its record, unless its boot is known and its record fresh."""
        now = time.monotonic()
        well = node.confirmed and not node.unrouted and not node.lost
        fresh = well and now - node.seen < self._settings.publish_every * 1.5
        if self._tasks is None or not node.token or node.asking or now < node.retry_at or (fresh and not again):
            return
        if node_id in self._certificates.trust.removed or self._nodes.get(node_id) is not node:
            return
        node.asking = True
        self._tasks.create_task(self._ask(node_id, node))

    async def _ask(self, node_id: str, node: _Node) -> None:
        try:
            raw = await self._rpc.call(node_id, HELLO, b"", timeout=_HELLO_TIMEOUT)
            presence = self._opened(node_id, raw)
        except (EdgeError, msgspec.MsgspecError) as error:
            node.misses += 1
            node.unrouted = error.fields.get("reason") == "no-answer" if isinstance(error, EdgeError) else False
            pause = _BACKOFF.after(node.misses)
            node.retry_at = time.monotonic() + pause
            asyncio.get_running_loop().call_later(pause + 0.001, self._confirm, node_id, node)
            self._consider(node_id)
            logger.debug("hello to %s: %s", node_id, error)
        else:
            node.misses = 0
            node.unrouted = node.lost = False
            node.confirmed = presence.record.boot
            self._rpc.note_boot(node_id, presence.record.boot)
            self._take(node_id, node, presence)
            self._consider(node_id)  # a newer record may have arrived first
        finally:
            node.asking = False

    def _alive(self, node: _Node, now: float) -> bool:
        return (
            not node.lost
            and (node.token or now < node.grace)
            and node.record is not None
            and now - node.seen < self._settings.stale_after
            and not (node.unrouted and node.misses >= _MISSES)
            and node.record.id not in self._certificates.trust.removed
        )

    def _consider(self, node_id: str) -> None:
        """Report the changes of a node since the last report."""
        node = self._nodes.get(node_id)
        if node is None or node.record is None:
            return
        alive = self._alive(node, time.monotonic())
        node.lost = not alive
        view = self.view(node.record)
        told = node.told
        if told is None and not alive:
            return
        if told is None or told[1] != alive or _essence(told[0]) != _essence(view):
            node.told = (view, alive)
            self._tell(view, alive)

    def _tell(self, record: NodeRecord, alive: bool) -> None:
        for callback in self._callbacks:
            try:
                callback(record, alive)
            except Exception:
                logger.exception("mesh: a callback failed for %s", record.name)


def _essence(record: NodeRecord) -> NodeRecord:
    return msgspec.structs.replace(record, sequence=0)
