"""The way to other nodes: ping, and the check of the network with its remedies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from agent.api import results
from agent.config import Config
from agent.discovery import Found
from agent.errors import EdgeError
from agent.mesh import LARGE, Mesh, Probes, RoundTrip, Tried, path_mtu
from agent.model.node import NodeRecord
from agent.platforms import firewall_tool, open_port

AT_ONCE = 16
"""Most nodes that are asked at the same time."""
OFFSET = 2.0
"""Seconds between two clocks from which it is a finding: below, only displayed times differ a little."""
LEAST_MTU = 1280
"""The least MTU of IPv6 (RFC 8200): below it something on the way is wrong."""
MDNS_PORT = 5353


class Heard(Protocol):
    """The part of discovery that is used here."""

    @property
    def problem(self) -> str: ...
    def heard(self) -> list[Found]: ...


class _Asked(NamedTuple):
    """The answers of one node."""

    shown: results.NodeNetwork
    firewall: str


class Network:
    """Asks other nodes and judges their answers; without a `discovery` mDNS is off."""

    def __init__(self, config: Config, mesh: Mesh, probes: Probes, discovery: Heard | None) -> None:
        self._config, self._mesh, self._probes, self._discovery = config, mesh, probes, discovery
        self.verbs = probes.verbs
        """The answers to other nodes, by verb."""

    async def ping(self, node: str) -> results.PingAnswer:
        """One round trip to a node by name or id; raises NotFound, Unreachable."""
        record = self._mesh.node(node)
        trip = await self._probes.ping(record.id)
        address = next((link.there for link in self._mesh.links() if link.node == record.id), "")
        return results.PingAnswer(
            node=record.name,
            id=record.id,
            ms=round(trip.ms, 2),
            offset_s=round(trip.offset_s, 3),
            way=self._way(record),
            address=address,
            version=trip.version,
        )

    async def check(self) -> results.NetCheck:
        """Connections both ways, round trips, clocks, MTU and mDNS, with what to do about them; takes some seconds."""
        me = self._mesh.me
        others = [n for n in self._mesh.known() if n.id != me.id and n.id not in self._mesh.denied]
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(record: NodeRecord) -> _Asked:
            async with room:
                return await self._ask(record)

        asked = await asyncio.gather(*(ask(n) for n in sorted(others, key=lambda n: n.name)))
        mdns = self._mdns(others)
        here = await asyncio.to_thread(firewall_tool)
        found = [*self._judge_all(asked, here), *self._judge_mdns(mdns, here)]
        ok = results.Check("network", "ok", f"{len(asked)} other nodes, nothing to do", "")
        return results.NetCheck(
            node=me.name,
            listen=f"{self._config.mesh.listen}:{self._config.mesh.port}",
            addresses=me.endpoints,
            mdns=mdns,
            nodes=[a.shown for a in asked],
            findings=found or [ok],
        )

    def _way(self, record: NodeRecord) -> results.Way:
        if record.id == self._mesh.me.id:
            return "self"
        if any(link.node == record.id for link in self._mesh.links()):
            return "direct"
        return "relayed" if self._mesh.is_live(record.id) else "none"

    async def _ask(self, record: NodeRecord) -> _Asked:
        there = asyncio.create_task(self._probes.connect(record))
        trip: RoundTrip | None = None
        back: list[Tried] | None = None
        large, error = None, ""
        try:
            if self._mesh.is_live(record.id):
                await self._probes.ping(record.id)  # the first one may exchange certificates
                trip = await self._probes.ping(record.id)
                large = await self._passes(record)
                back = await self._probes.reach(record.id)
        except EdgeError as e:
            error = e.message
        shown = results.NodeNetwork(
            node=record.name,
            id=record.id,
            alive=self._mesh.is_live(record.id),
            way=self._way(record),
            there=_shown(await there),
            ms=None if trip is None else round(trip.ms, 2),
            offset_s=None if trip is None else round(trip.offset_s, 3),
            mtu=await asyncio.to_thread(path_mtu, [c.address for c in there.result()]),
            large=large,
            back=None if back is None else _shown(back),
            error=error,
        )
        return _Asked(shown, trip.firewall if trip is not None else "")

    async def _passes(self, record: NodeRecord) -> bool:
        try:
            await self._probes.ping(record.id, padding=LARGE)
        except EdgeError:
            return False
        return True

    def _mdns(self, others: list[NodeRecord]) -> results.MdnsState:
        if self._discovery is None:
            return results.MdnsState(False, "", [], [])
        ids = {f.node for f in self._discovery.heard()}
        live = [n for n in others if self._mesh.is_live(n.id)]
        return results.MdnsState(
            True,
            self._discovery.problem,
            sorted(n.name for n in live if n.id in ids),
            sorted(n.name for n in live if n.id not in ids),
        )

    # -- the findings -------------------------------------------------------------------------------------------------

    def _judge_all(self, asked: list[_Asked], here: str) -> Iterator[results.Check]:
        closed = [a.shown.node for a in asked if a.shown.back and all(c.error for c in a.shown.back)]
        if closed:
            port = self._config.mesh.port
            text = f"{', '.join(closed)} cannot connect to this node: the port {port} is closed on the way"
            yield results.Check("net.closed-here", "warn", text, f"on this node: {open_port(here, port)}")
        for answer in asked:
            yield from self._judge(answer)

    def _judge(self, asked: _Asked) -> Iterator[results.Check]:
        n = asked.shown
        closed = bool(n.there) and all(c.error for c in n.there)
        if n.way == "relayed":
            text = f"{n.node} has no direct link to this node: other nodes relay, which is slower"
            if closed:
                port = int(n.there[0].address.rpartition(":")[2])
                remedy = f"on {n.node}: {open_port(asked.firewall, port)}"
            else:
                remedy = "open the mesh port of one of the two nodes to the other"
            yield results.Check("net.relayed", "warn", text, remedy)
        if not n.alive:
            text = f"{n.node} is gone" + ("" if closed or not n.there else ", although its port answers")
            remedy = f"see that {n.node} has power and network; edge-agent netcheck there shows its side"
            yield results.Check("net.gone", "warn", text, remedy)
        elif n.error:
            yield results.Check("net.silent", "warn", f"{n.node} could not be asked: {n.error}", "try again later")
        if n.large is False:
            text = f"small messages reach {n.node}, {LARGE // 1024} KiB do not: something on the way drops full packets"
            remedy = "set a smaller MTU on the interface, or let ICMP 'fragmentation needed' through the firewall"
            yield results.Check("net.mtu", "fail", text, remedy)
        elif n.mtu is not None and n.mtu < LEAST_MTU:
            text = f"the MTU of the way to {n.node} is {n.mtu} bytes"
            yield results.Check("net.mtu", "warn", text, f"set the interface's MTU to {LEAST_MTU} or more")
        if n.offset_s is not None and abs(n.offset_s) > OFFSET:
            text = f"the clock of {n.node} is {abs(n.offset_s):.1f} s {'ahead' if n.offset_s > 0 else 'behind'}"
            remedy = "start a time service (systemd-timesyncd, chrony, ntpd) on both; only shown times are affected"
            yield results.Check("net.clock", "warn", text, remedy)

    def _judge_mdns(self, mdns: results.MdnsState, here: str) -> Iterator[results.Check]:
        remedy = "let nodes join with --join HOST:PORT, or set mesh.join"
        if mdns.error:
            yield results.Check("net.mdns", "warn", f"mDNS does not work: {mdns.error}", remedy)
        elif mdns.missed and not mdns.heard:
            text = f"no mDNS announcement of {', '.join(mdns.missed)} came: another network, client isolation or a firewall"
            yield results.Check("net.mdns", "warn", text, f"{remedy}; here: {open_port(here, MDNS_PORT, 'udp')}")


def _shown(tried: list[Tried]) -> list[results.Connection]:
    return [results.Connection(t.address, t.error) for t in tried]
