"""Links made at run time.

A running zenoh session cannot be given a new endpoint. But two sessions link by themselves once they hear
of each other by gossip. So a short-lived second session of this node connects to this node's own listener
and to the other node's, introduces them, and closes. Where they cannot link directly (a forwarded port, for
example) the introducer stays between them and relays.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from agent import ticks
from agent.backoff import Backoff, doubling
from agent.errors import EdgeError
from agent.mesh.addresses import own_listener, split_address
from agent.mesh.handshakes import why_not
from agent.mesh.session import MeshSession, close_session, denial, link_config, links_of, open_session
from agent.mesh.settings import MeshSettings

logger = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
INTRODUCE_SECONDS = 6.0
LINGER_SECONDS = 1.5
"""Seconds that the two nodes have to link after the introducer reached both; then it stays as a relay."""
_TICK = 0.5
"""Seconds between two checks whether a relay is still needed; also the pause while the session is closed."""
_SOON, _CALM = 0.1, 30.0
"""Shortest and longest pause in seconds between two checks of the addresses to dial."""
_EXPLAIN_AT = 2
"""Failures after which the log gives the reason; the first may be due to a node that is starting."""
_YIELD_SECONDS = 2.0
MAX_RELAYS = 8
MAX_TARGETS = 32
MAX_ENDPOINTS = 512
MAX_UNPROVEN = 64
"""Most discovered addresses without an answer yet: every host in the network can announce addresses."""


class Endpoint(msgspec.Struct):
    """A known address, the node that answered or is said to answer there, and the time of the next try (monotonic
    seconds).
    """

    address: str
    node: str = ""
    failures: int = 0
    due: float = 0.0
    asked_for: bool = False
    discovered: bool = False


class Introducer:
    """Dials every known node that is not linked: all at once, again and again with growing, jittered
    pauses.
    """

    def __init__(self, session: MeshSession, settings: MeshSettings) -> None:
        self.is_routed: Callable[[str], bool] = lambda node: False
        self.reached: Callable[[str, str], None] = lambda node, address: None
        self._session, self._settings = session, settings
        self._backoff = Backoff(doubling(settings.redial_min, settings.redial_max), jitter=(0.7, 1.3))
        self._own = own_listener(settings.listen, settings.port)
        self._endpoints: dict[str, Endpoint] = {}
        self._relays: dict[str, Any] = {}
        self._wake = asyncio.Event()

    def add(self, address: str, node: str = "", *, asked_for: bool = False, discovered: bool = False) -> None:
        """Add an address. An address that is `asked_for` (explicit or discovered) is tried at once and never dropped
        for others, except a `discovered` address without an answer so far.
        """
        known = self._endpoints.get(address)
        if known is None:
            if discovered:
                self._drop_unproven()
            if len(self._endpoints) >= MAX_ENDPOINTS:
                if not asked_for:
                    return
                self._drop_one()
            known = self._endpoints[address] = Endpoint(address, node, asked_for=asked_for, discovered=discovered)
            self._wake.set()
        elif asked_for and known.due > time.monotonic() + self._settings.redial_min:
            known.failures, known.due = 0, 0.0
            self._wake.set()
        known.asked_for = known.asked_for or asked_for
        if node and node != known.node:
            known.node = node
            self._wake.set()

    def hurry(self, node: str) -> None:
        """Dial this node soon: a link to it was lost."""
        soon = time.monotonic() + random.uniform(0.1, 0.5)  # noqa: S311  spreads the dials, guards nothing
        for endpoint in self._endpoints.values():
            if endpoint.node == node:
                endpoint.failures, endpoint.due = 0, min(endpoint.due, soon)
        self._wake.set()

    def look(self) -> None:
        """Check the addresses to dial now: links changed."""
        self._wake.set()

    def retry_all(self) -> None:
        """Try every known address soon: the network may have changed."""
        for endpoint in self._endpoints.values():
            endpoint.failures, endpoint.due = 0, time.monotonic() + random.uniform(0.5, 1.5)  # noqa: S311  guards nothing
        self._wake.set()

    def forget(self, node: str) -> None:
        """Stop dialling a removed node."""
        for address in [a for a, e in self._endpoints.items() if e.node == node]:
            del self._endpoints[address]

    @property
    def relayed(self) -> set[str]:
        """The nodes that are linked through a relay in this agent."""
        return set(self._relays)

    def known(self) -> list[Endpoint]:
        """The known addresses, for `status`."""
        return list(self._endpoints.values())

    async def run(self) -> None:
        """Dial until cancelled; relays are closed at the end."""
        try:
            while True:
                self._wake.clear()
                await self._close_relays()
                await self._round(self._due())
                await ticks.wait(self._wake, self._pause())
        finally:
            relays, self._relays = list(self._relays.values()), {}
            for relay in relays:
                await close_session(relay)

    def _due(self) -> list[Endpoint]:
        now = time.monotonic()
        return [e for e in self._unlinked(self._endpoints.values()) if e.due <= now] if self._session.zid else []

    def _pause(self) -> float:
        """Seconds until the next address is due; a change of that wakes the introducer."""
        if self._relays or not self._session.zid:
            return _TICK
        first = min((e.due for e in self._unlinked(self._endpoints.values())), default=math.inf)
        return min(max(first - time.monotonic(), _SOON), _CALM)

    def _unlinked(self, endpoints: Collection[Endpoint]) -> list[Endpoint]:
        links = self._session.links() if endpoints else []
        nodes = {self._session.identity.node_id, *(link.node for link in links), *self._relays}
        addresses = {link.there for link in links}
        return [e for e in endpoints if (e.node not in nodes if e.node else e.address not in addresses)]

    def _linked(self, endpoint: Endpoint) -> bool:
        return not self._unlinked([endpoint])

    async def _round(self, due: list[Endpoint]) -> None:
        """Probe all that are due at once, then introduce this node to those that accept connections, all at
        once.
        """
        now = time.monotonic()
        for endpoint in due:
            endpoint.failures += 1
            endpoint.due = now + self._backoff.after(endpoint.failures)
        answers = await asyncio.gather(*map(self._probe, due))
        open_ones = [e for e, resolved in zip(due, answers, strict=True) if resolved]
        if open_ones and self._yields(open_ones):
            await asyncio.sleep(_YIELD_SECONDS)
        targets = {r: e for e, r in zip(due, answers, strict=True) if r and not self._linked(e)}
        if targets:
            await self._introduce(dict(list(targets.items())[:MAX_TARGETS]))
        await asyncio.gather(*(self._explain(e) for e in due if e.asked_for and e.failures == _EXPLAIN_AT))

    async def _explain(self, endpoint: Endpoint) -> None:
        """Log once why an address from the configuration or from discovery is not linked."""
        if not self._linked(endpoint) and (reason := await why_not(endpoint.address, self._session.identity)):
            logger.warning("mesh: %s is not linked: %s", endpoint.address, reason)

    def _yields(self, endpoints: list[Endpoint]) -> bool:
        """Whether this node waits first: of two nodes that dial each other, the one with the larger id waits, so that they
        are not introduced twice.
        """
        return all(e.node and e.node < self._session.identity.node_id for e in endpoints)

    async def _probe(self, endpoint: Endpoint) -> str:
        """The resolved address if something accepts connections there, else empty: a session costs more
        than a probe.
        """
        host, port = split_address(endpoint.address)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return ""
        name = writer.get_extra_info("peername")
        writer.transport.abort()
        if name is None:  # a neighbour that dies now resets the connection before the socket knows the peer's address
            return ""
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def _introduce(self, targets: dict[str, Endpoint]) -> None:
        try:
            session = await open_session(
                {
                    **link_config(self._session.identity, self._settings.lease),
                    **denial(self._session.denied),
                    "scouting/gossip/autoconnect": {},
                    "listen/endpoints": [],
                    "connect/endpoints": [f"tls/{a}" for a in (self._own, *targets)],
                    "connect/timeout_ms": int(INTRODUCE_SECONDS * 1000),
                }
            )
        except EdgeError as error:
            logger.debug("no introduction to %s: %s", ", ".join(targets), error)
            return
        keep = False
        try:
            keep = await self._watch(session, targets)
        finally:
            if not keep:
                await close_session(session)

    async def _watch(self, session: Any, targets: dict[str, Endpoint]) -> bool:
        """Wait until all are linked; True where the introducer stays as a relay, because some cannot be."""
        start, met = time.monotonic(), 0.0
        while (now := time.monotonic()) - start < INTRODUCE_SECONDS:
            reached = {link.there: link for link in links_of(session)}
            for address, endpoint in targets.items():
                if address in reached:
                    self._note(endpoint, reached[address].node)
            others = {link.session: link.node for there, link in reached.items() if there in targets}
            direct = {self._session.zid, *(link.session for link in self._session.links())}
            apart = {zid: node for zid, node in others.items() if zid not in direct and not self.is_routed(node)}
            met = met or (now if others else 0.0)
            settled = met and now - met > LINGER_SECONDS
            if settled and apart and self._own in reached:
                return self._relay(session, next(iter(apart.values())))
            linked = others and all(zid in direct for zid in others)
            if others and not apart and (settled or (linked and len(reached) > len(targets))):
                return False
            await asyncio.sleep(0.03)
        return False

    def _relay(self, session: Any, node: str) -> bool:
        if node in self._relays or len(self._relays) >= MAX_RELAYS or not node:
            return False
        logger.info("mesh: %s cannot be linked directly; linking it through a relay in this agent", node)
        self._relays[node] = session
        return True

    async def _close_relays(self) -> None:
        """Close the relays that lost an end or are no longer needed."""
        for node, relay in list(self._relays.items()):
            ends = {link.node for link in links_of(relay)}
            direct = any(link.node == node for link in self._session.links())
            if direct or not {node, self._session.identity.node_id} <= ends:
                del self._relays[node]
                await close_session(relay)

    def _note(self, endpoint: Endpoint, node: str) -> None:
        if node and (endpoint.node != node or endpoint.failures):
            endpoint.node, endpoint.failures = node, 0
            self.reached(node, endpoint.address)

    def _drop_unproven(self) -> None:
        unproven = [e for e in self._endpoints.values() if e.discovered and not e.node]
        if len(unproven) >= MAX_UNPROVEN:
            del self._endpoints[max(unproven, key=lambda e: e.failures).address]

    def _drop_one(self) -> None:
        idle = [e for e in self._endpoints.values() if not e.asked_for] or list(self._endpoints.values())
        del self._endpoints[max(idle, key=lambda e: e.failures).address]
