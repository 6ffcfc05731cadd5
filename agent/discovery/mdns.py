"""mDNS by zeroconf: announces this node and hears others, also when the network changes.

Source of the protocol: RFC 6762 and 6763; any mDNS client can look: `avahi-browse -r _edge-agent._tcp`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from zeroconf import BadTypeInNameException, IPVersion, NotRunningException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from agent.discovery.found import SERVICE, Found, properties, read
from agent.discovery.interfaces import own_addresses

logger = logging.getLogger(__name__)

_POLL = 3.0
"""Seconds between two checks of this node's addresses (about 0.3 ms each)."""

_ASK_AGAIN = 300.0
"""Seconds after which all nodes are asked again, for answers that were lost on the Wi-Fi."""

_RESOLVE = 3000
"""Milliseconds to wait for a node's addresses and TXT record."""

_RESOLVE_TRIES = 3
_MAX_RESOLVING = 64
_MAX_HEARD = 256
_FAILURES = (OSError, RuntimeError, NotRunningException, asyncio.TimeoutError)


class Discovery:
    """Announces this node after a call of `announce`, and calls `found` for each other node that is new or changed.

    `interfaces` are names or addresses; None means all that lead out of this machine. It waits for a network where there
    is none. `run` until cancelled.
    """

    def __init__(
        self,
        found: Callable[[Found], None],
        *,
        interfaces: Sequence[str] | None = None,
        ipv6: bool = False,
        poll: float = _POLL,
    ) -> None:
        """`found` is called in the loop of `run`; `ipv6` announces such addresses too; `poll` is in seconds."""
        self._found, self._interfaces, self._ipv6, self._poll = found, interfaces, ipv6, poll
        self._me: Found | None = None
        self._changed = asyncio.Event()
        self._announced: tuple[Found, tuple[str, ...]] | None = None
        self._info: AsyncServiceInfo | None = None
        self._heard: dict[str, Found] = {}
        self.problem = ""
        """Why it does not work now; empty while it works."""
        self.ignored = 0
        """The number of invalid announcements."""

    def announce(self, mesh_id: str, node_id: str, name: str, port: int, enrol_port: int, *, version: str = "") -> None:
        """Announce this node with these facts from now on."""
        self._me = Found(
            mesh=mesh_id, node=node_id, name=name, hosts=(), port=port, enrol_port=enrol_port, version=version
        )
        self._changed.set()

    def heard(self) -> list[Found]:
        """All other nodes heard since the start, by their last announcements."""
        return list(self._heard.values())

    async def run(self) -> None:
        """Announce and listen until cancelled; failures of the network are logged once and retried."""
        while True:
            addresses = self._own()
            if addresses:
                try:
                    await self._with_network(addresses)
                except _FAILURES as error:
                    self._complain(str(error) or type(error).__name__)
            else:
                self._complain("no network")
            await asyncio.sleep(self._poll)

    async def _with_network(self, addresses: list[str]) -> None:
        zeroconf = AsyncZeroconf(interfaces=_sockets(addresses), ip_version=IPVersion.V4Only)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._follow(zeroconf, tasks, addresses)
        except BaseExceptionGroup as group:
            # Resolving never raises, so the group holds one error of `_follow` alone.
            raise group.exceptions[0] from None
        finally:
            self._announced = self._info = None
            await zeroconf.async_close()

    async def _follow(self, zeroconf: AsyncZeroconf, tasks: asyncio.TaskGroup, addresses: list[str]) -> None:
        """Keep announcement, browser and sockets up to date with this node and its network."""
        loop = asyncio.get_running_loop()
        browser = self._browse(zeroconf, tasks)
        asked = loop.time()
        try:
            while True:
                await self._publish(zeroconf, addresses)
                self._recovered()
                await self._wait()
                now = self._own()
                if not now:
                    # Sockets on an interface that comes back receive nothing: start again.
                    raise OSError("no network")
                moved = now != addresses
                if moved:
                    logger.info("this node's addresses changed to %s", ", ".join(now))
                    await zeroconf.async_update_interfaces(_sockets(now))
                    addresses = now
                if moved or loop.time() - asked > _ASK_AGAIN:
                    await browser.async_cancel()
                    browser, asked = self._browse(zeroconf, tasks), loop.time()
        finally:
            await browser.async_cancel()

    def _own(self) -> list[str]:
        return [a for a in own_addresses(self._interfaces) if self._ipv6 or ":" not in a]

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _publish(self, zeroconf: AsyncZeroconf, addresses: list[str]) -> None:
        self._changed.clear()
        if self._me is None or self._announced == (self._me, tuple(addresses)):
            return
        info = _service(self._me, addresses)
        if self._info is not None and self._info.name == info.name:
            await zeroconf.async_update_service(info)
        else:
            if self._info is not None:
                await (await zeroconf.async_unregister_service(self._info))
            # The name is the node's id, which is unique: no check for a conflict is needed.
            await zeroconf.async_register_service(info, cooperating_responders=True)
        self._info, self._announced = info, (self._me, tuple(addresses))

    def _browse(self, zeroconf: AsyncZeroconf, tasks: asyncio.TaskGroup) -> AsyncServiceBrowser:
        def hear(found: Found) -> None:
            mine = self._me is not None and found.node == self._me.node
            if mine or self._heard.get(found.node) == found:
                return
            if len(self._heard) >= _MAX_HEARD:
                self._heard.pop(next(iter(self._heard)))
            self._heard[found.node] = found
            self._found(found)

        return _browser(zeroconf, tasks, hear, self._ignore)

    def _ignore(self) -> None:
        self.ignored += 1
        if self.ignored == 1:
            logger.warning("an mDNS announcement of %s cannot be decoded; more of these are only counted", SERVICE)

    def _complain(self, why: str) -> None:
        if not self.problem:
            logger.warning("mDNS does not work now: %s; other nodes are found by their addresses only", why)
        self.problem = why

    def _recovered(self) -> None:
        if self.problem:
            self.problem = ""
            logger.info("mDNS works again")


async def listen_for_meshes(seconds: float, *, interfaces: Sequence[str] | None = None) -> list[Found]:
    """The nodes heard within `seconds`; none without a network."""
    heard: dict[str, Found] = {}
    addresses = own_addresses(interfaces)
    if not addresses:
        return []
    try:
        zeroconf = AsyncZeroconf(interfaces=_sockets(addresses), ip_version=IPVersion.V4Only)
    except _FAILURES as error:
        logger.warning("cannot listen for a mesh by mDNS: %s", error)
        return []
    try:
        async with asyncio.TaskGroup() as tasks:
            browser = _browser(zeroconf, tasks, lambda f: heard.update({f.node: f}), lambda: None)
            await asyncio.sleep(seconds)
            await browser.async_cancel()
    finally:
        await zeroconf.async_close()
    return list(heard.values())


def _browser(
    zeroconf: AsyncZeroconf, tasks: asyncio.TaskGroup, hear: Callable[[Found], None], ignore: Callable[[], None]
) -> AsyncServiceBrowser:
    """A browser that calls `hear` for each valid announcement and `ignore` for the others."""
    resolving: set[str] = set()

    async def resolve(name: str) -> None:
        try:
            info = AsyncServiceInfo(SERVICE, name)
            for _ in range(_RESOLVE_TRIES):
                if await info.async_request(zeroconf.zeroconf, _RESOLVE):
                    break
            else:
                return
            found = read(info.properties, info.parsed_scoped_addresses())
        except (*_FAILURES, BadTypeInNameException, UnicodeError, ValueError) as error:
            logger.debug("cannot resolve an mDNS name: %s", error)
            found = None
        finally:
            resolving.discard(name)
        if found is None:
            ignore()
        else:
            hear(found)

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        wanted = state_change is not ServiceStateChange.Removed and name not in resolving
        if wanted and len(resolving) < _MAX_RESOLVING:
            resolving.add(name)
            tasks.create_task(resolve(name))

    return AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])


def _service(me: Found, addresses: Iterable[str]) -> AsyncServiceInfo:
    # Named by the id alone: a new friendly name is then an update and not a second node.
    return AsyncServiceInfo(
        SERVICE,
        f"{me.node}.{SERVICE}",
        port=me.port,
        properties=properties(me),
        server=f"{me.node}.local.",
        parsed_addresses=list(addresses),
    )


def _sockets(addresses: Iterable[str]) -> list[str | int | tuple[tuple[str, int, int], int]]:
    """mDNS is spoken over IPv4; IPv6 addresses are announced in it."""
    return [a for a in addresses if ":" not in a]
