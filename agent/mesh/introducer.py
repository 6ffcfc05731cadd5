"""Links made at run time.

A running zenoh session cannot be told a new endpoint. But two sessions link by themselves once they hear
of each other by gossip. So a short-lived second session of this node connects to this node's own listener
and to the other node's, introduces them, and goes. Where they cannot link directly (a forwarded port, for
example) the introducer stays between them and relays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from agent.errors import EdgeError
from agent.mesh.addresses import own_listener, split_address
from agent.mesh.session import MeshSession, close_session, denial, link_config, links_of, open_session
from agent.mesh.settings import MeshSettings

logger = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
INTRODUCE_SECONDS = 6.0
LINGER_SECONDS = 1.5
"""How long the two get to link after the introducer reached both; then it stays as a relay."""
_TICK = 0.5
MAX_RELAYS = 8
MAX_ENDPOINTS = 512


class Endpoint(msgspec.Struct):
    """A known address: which node answered or is said to answer there, and when it is tried again (monotonic
    seconds).
    """

    address: str
    node: str = ""
    failures: int = 0
    due: float = 0.0
    asked_for: bool = False
    busy: bool = False


class Introducer:
    """Dials every known node that is not linked: all at once, again and again with growing, jittered
    pauses.
    """

    def __init__(self, session: MeshSession, settings: MeshSettings) -> None:
        self.reached: Callable[[str, str], None] = lambda node, address: None
        self._session, self._settings = session, settings
        self._own = own_listener(settings.listen, settings.port)
        self._endpoints: dict[str, Endpoint] = {}
        self._relays: dict[str, Any] = {}
        self._wake = asyncio.Event()

    def add(self, address: str, node: str = "", *, asked_for: bool = False) -> None:
        """Know an address; `asked_for` ones (explicit or discovered) are tried at once and never dropped for
        others.
        """
        known = self._endpoints.get(address)
        if known is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                if not asked_for:
                    return
                self._drop_one()
            known = self._endpoints[address] = Endpoint(address, node, asked_for=asked_for)
            self._wake.set()
        elif asked_for and known.due > time.monotonic() + self._settings.redial_min:
            known.failures, known.due = 0, 0.0
            self._wake.set()
        known.asked_for = known.asked_for or asked_for
        if node:
            known.node = node

    def hurry(self, node: str) -> None:
        """A link to this node was lost: dial it soon."""
        soon = time.monotonic() + random.uniform(0.1, 0.5)  # noqa: S311  spreads the dials, guards nothing
        for endpoint in self._endpoints.values():
            if endpoint.node == node:
                endpoint.failures, endpoint.due = 0, min(endpoint.due, soon)
        self._wake.set()

    def retry_all(self) -> None:
        """Everything may have changed: try every known address soon."""
        for endpoint in self._endpoints.values():
            endpoint.failures, endpoint.due = 0, time.monotonic() + random.uniform(0.5, 1.5)  # noqa: S311  guards nothing

    def forget(self, node: str) -> None:
        """Stop dialling a removed node."""
        for address in [a for a, e in self._endpoints.items() if e.node == node]:
            del self._endpoints[address]

    def known(self) -> list[Endpoint]:
        """The known addresses, for `status`."""
        return list(self._endpoints.values())

    async def run(self) -> None:
        """Dial until cancelled; relays are closed at the end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._close_relays()
                    for endpoint in self._due():
                        endpoint.busy = True
                        tasks.create_task(self._dial(endpoint))
                    self._wake.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_TICK):
                            await self._wake.wait()
        finally:
            relays, self._relays = list(self._relays.values()), {}
            for relay in relays:
                await close_session(relay)

    def _due(self) -> list[Endpoint]:
        now = time.monotonic()
        due = [e for e in self._endpoints.values() if e.due <= now and not e.busy]
        if not due or not self._session.zid:
            return []
        links = self._session.links()
        linked = {self._session.identity.node_id, *(link.node for link in links), *self._relays}
        there = {link.there for link in links}
        return [e for e in due if (e.node not in linked if e.node else e.address not in there)]

    async def _dial(self, endpoint: Endpoint) -> None:
        try:
            resolved = await self._probe(endpoint)
            if resolved:
                await self._introduce(endpoint, resolved)
        finally:
            endpoint.busy = False
            pause = min(self._settings.redial_max, self._settings.redial_min * 2 ** min(endpoint.failures, 10))
            endpoint.failures += 1
            endpoint.due = time.monotonic() + pause * random.uniform(0.7, 1.3)  # noqa: S311  guards nothing

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
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def _introduce(self, endpoint: Endpoint, resolved: str) -> None:
        try:
            session = await open_session(
                {
                    **link_config(self._session.identity, self._settings.lease),
                    **denial(self._session.denied),
                    "listen/endpoints": [],
                    "connect/endpoints": [f"tls/{self._own}", f"tls/{resolved}"],
                    "connect/timeout_ms": int(INTRODUCE_SECONDS * 1000),
                }
            )
        except EdgeError as error:
            logger.debug("no introduction to %s: %s", endpoint.address, error)
            return
        keep = False
        try:
            keep = await self._watch(session, endpoint, resolved)
        finally:
            if not keep:
                await close_session(session)

    async def _watch(self, session: Any, endpoint: Endpoint, resolved: str) -> bool:
        """Wait until the two are linked; True where the introducer stays as a relay, because they cannot."""
        start, met = time.monotonic(), 0.0
        while (now := time.monotonic()) - start < INTRODUCE_SECONDS:
            links = {link.session: link for link in links_of(session)}
            other = next((link for link in links.values() if link.there == resolved), None)
            if other is not None:
                met = met or now
                self._note(endpoint, other.node)
                direct = {self._session.zid, *(link.session for link in self._session.links())}
                if other.session in direct:
                    return False
                if now - met > LINGER_SECONDS and self._session.zid in links:
                    return self._relay(session, other.node)
            await asyncio.sleep(0.03)
        return False

    def _relay(self, session: Any, node: str) -> bool:
        if node in self._relays or len(self._relays) >= MAX_RELAYS or not node:
            return False
        logger.info("mesh: %s cannot be linked directly, a relay in this agent links it", node)
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

    def _drop_one(self) -> None:
        idle = [e for e in self._endpoints.values() if not e.asked_for] or list(self._endpoints.values())
        del self._endpoints[max(idle, key=lambda e: e.failures).address]
