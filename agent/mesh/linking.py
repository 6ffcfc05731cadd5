"""Keeps this node linked: known addresses, advertised addresses, and the decision to open the session again."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from agent import ticks
from agent.backoff import Backoff, doubling
from agent.mesh.addresses import local_addresses, parse_address, usable_addresses
from agent.mesh.introducer import Introducer
from agent.mesh.liveness import REOPEN_GRACE, PresenceBook
from agent.mesh.peers import PeerBook
from agent.mesh.session import MeshSession
from agent.mesh.settings import MeshSettings
from agent.model.node import NodeRecord

logger = logging.getLogger(__name__)

DIAL_AT_OPEN = 64
"""Most remembered addresses that a session dials by itself when it opens."""
REMOVAL_SLOT = 2.0
"""Seconds between the reopenings of two nodes after a removal, so that only one is away at a time."""
_ADDRESS_SECONDS = 4.0
_LOOK_SECONDS, _CALM_SECONDS = 1.0, 10.0
"""Seconds between two checks of the routes: while a node has no route, and while all nodes have one. A changed link or node
is checked at once."""
_UNROUTED_SECONDS = 3.0
_UNROUTED_MAX = 120.0
_BACKOFF = Backoff(doubling(_UNROUTED_SECONDS, _UNROUTED_MAX))


class Linking:
    """Feeds the introducer with addresses from settings, disk, discovery and presence records."""

    def __init__(self, session: MeshSession, settings: MeshSettings, presence: PresenceBook, peers_file: Path) -> None:
        self._session, self._settings, self._presence = session, settings, presence
        self._peers = PeerBook(peers_file)
        self._join = [parse_address(a, settings.port) for a in settings.join]
        self._advertise = [parse_address(a, settings.port) for a in settings.advertise]
        self._reopen = asyncio.Event()
        self._blind = False
        self.introducer = Introducer(session, settings)
        self.introducer.reached = self._reached
        self.introducer.is_routed = presence.is_live
        session.connect = self._dial_at_open
        presence.on_change(self._changed)

    def add(self, address: str) -> None:
        """Dial an address at once, and remember it once a node answered there; raises ConfigError for another text."""
        self.introducer.add(parse_address(address, self._settings.port), asked_for=True, discovered=True)

    def awaited(self) -> set[str]:
        """The remembered nodes that are not live now."""
        return {peer.id for peer in self._peers.all() if not self._presence.is_live(peer.id)}

    def deny(self, node: str) -> None:
        """Stop dialling a removed node now, and refuse its links when it is this node's turn to reopen."""
        self.introducer.forget(node)
        self._peers.forget(node)
        self._presence.reconsider(node)
        self._reopen.set()

    async def reopen(self) -> None:
        """Announce a pause and open the session again; other nodes do not count this node lost meanwhile."""
        self._presence.publish(pause=REOPEN_GRACE)
        await asyncio.sleep(0.1)  # the announcement must leave before the links close
        self._presence.expect_silence(REOPEN_GRACE)
        self._session.denied = set(self._presence.removed)
        await self._session.reopen()
        self._presence.publish()
        self.introducer.retry_all()

    async def run(self) -> None:
        """Dial, remember, and watch this host's addresses, until cancelled."""
        for address in self._join:
            self.introducer.add(address, asked_for=True)
        for peer in self._peers.all():
            for address in peer.endpoints:
                self.introducer.add(address, peer.id)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.introducer.run())
            tasks.create_task(self._shut_out())
            tasks.create_task(self._watch_routes())
            await self._watch_addresses()

    async def advertise(self) -> list[str]:
        """The addresses that other nodes should dial; the previous addresses if they cannot be read now."""
        if self._advertise:
            return self._advertise
        try:
            found = await asyncio.to_thread(local_addresses, self._settings.listen, self._settings.port)
        except OSError as error:  # no descriptor is free, or an interface disappeared while it was read
            if not self._blind:
                logger.warning("mesh: this host's addresses cannot be read: %s", error)
            self._blind = True
            return self._presence.me.endpoints
        self._blind = False
        return found

    async def _watch_addresses(self) -> None:
        while True:
            await ticks.sleep(_ADDRESS_SECONDS)
            await self._peers.save()
            before, now = self._presence.me.endpoints, await self.advertise()
            if now == before:
                continue
            logger.info("mesh: this node's addresses are now %s", ", ".join(now) or "none")
            self._presence.announce({"endpoints": now})
            # Links over an address that is gone are dead, and gossip still spreads it: only a new session drops it.
            if now and not set(before) <= set(now):
                await self.reopen()

    async def _shut_out(self) -> None:
        while True:
            await self._reopen.wait()
            ids = sorted(r.id for r in self._presence.live())
            await asyncio.sleep(0.5 + min(60.0 / len(ids), REMOVAL_SLOT) * ids.index(self._presence.me.id))
            self._reopen.clear()
            if self._session.denied != self._presence.removed:
                await self.reopen()

    async def _watch_routes(self) -> None:
        """Open the session again when it broke, or when a node is linked but no route leads to it.

        zenoh sometimes fails to pass declarations of other nodes to a router while the mesh changes (see
        SETTLE_SECONDS); a session that opens later gets every declaration. A node may also be silent for other reasons,
        so the pauses between two attempts grow.
        """
        since: dict[str, float] = {}
        reopened, quiet_until = 0, 0.0
        while True:
            if await ticks.wait(self._session.stirred, ticks.until(_LOOK_SECONDS if since else _CALM_SECONDS)):
                self._session.stirred.clear()
                self.introducer.look()
            now = time.monotonic()
            ends = {link.node for link in self._session.links()} | self.introducer.relayed
            linked = ends - {self._presence.me.id, "", *self._presence.removed}
            unrouted = {node for node in linked if self._presence.is_unrouted(node)}
            since = {node: since.get(node, now) for node in unrouted}
            stuck = [node for node, start in since.items() if now - start > _UNROUTED_SECONDS]
            if self._session.broken.is_set() or (stuck and now > quiet_until):
                logger.warning(
                    "mesh: no route to %s although linked: reopening the session", ", ".join(stuck) or "others"
                )
                await self.reopen()
                reopened += 1
                since, quiet_until = {}, time.monotonic() + _BACKOFF.after(reopened)
            elif not unrouted and now > quiet_until + _UNROUTED_MAX:
                reopened = 0

    def _dial_at_open(self) -> list[str]:
        remembered = [a for p in self._peers.all() for a in p.endpoints[:2]]
        return list(dict.fromkeys([*self._join, *remembered]))[:DIAL_AT_OPEN]

    def _changed(self, record: NodeRecord, alive: bool) -> None:
        if record.id == self._presence.me.id or record.id in self._presence.removed:
            return
        addresses = usable_addresses(record.endpoints[:8], self._settings.port)
        for address in addresses:
            self.introducer.add(address, record.id)
        self._peers.remember(record.id, record.name, addresses)
        if not alive:
            self.introducer.hurry(record.id)
            self._session.stirred.set()

    def _reached(self, node: str, address: str) -> None:
        if node != self._presence.me.id:
            names = [r.name for r in self._presence.records() if r.id == node]
            self._peers.remember(node, names[0] if names else "", [address])
