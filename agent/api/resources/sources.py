"""Logs of all nodes, the devices that send them, and the decisions of operators about these devices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from agent.api import results
from agent.api.requests import DecideSender
from agent.api.resources.common import when
from agent.errors import EdgeError, Refused
from agent.identity import Identity, PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.documents import SENDER
from agent.model.node import NodeRecord
from agent.sources import SenderCount, SenderRule, network, rule_name
from agent.steps import FoundEvents, SourceCounts, SourceRunner

log = logging.getLogger(__name__)

MAX_SENDERS = 200
"""Senders of one source in an answer."""


class Sources:
    """The sources of the mesh. Its `serve_…` method answers other nodes."""

    def __init__(
        self,
        mesh: Mesh,
        runners: Mapping[tuple[str, str, str, str], SourceRunner],
        *,
        identity: Callable[[], Identity],
    ) -> None:
        """`runners` are the sources of this node, by pipeline, version, step and source."""
        self._mesh, self._runners, self._identity = mesh, runners, identity

    async def all(self) -> list[results.Source]:
        """The sources of all live nodes, on a member those of this node, by node, pipeline and step."""
        found = await asyncio.gather(*(self._sources_of(n) for n in self._mesh.live()))
        return sorted((s for sources in found for s in sources), key=lambda s: (s.node, s.pipeline, s.step, s.name))

    async def _sources_of(self, node: NodeRecord) -> list[results.Source]:
        try:
            found = msgspec.msgpack.decode(
                await self._mesh.call(node.id, "source.list", b"", timeout=3.0), type=list[results.Source]
            )
        except (EdgeError, *DAMAGED) as e:
            log.debug("%s did not tell its sources: %s", node.name, e)
            return []
        return [msgspec.structs.replace(s, node=node.name) for s in found]

    async def decide(self, asked: DecideSender) -> results.SenderDecision:
        """Sign a decision about an address or network. Raises ConfigError, and Refused on a node that is not an operator."""
        about = network(asked.network.strip().partition("%")[0])  # a link-local address may name an interface
        await self._mesh.documents.put(SENDER, rule_name(about), msgspec.json.encode(SenderRule(asked.allow)))
        shown = str(about) if about.num_addresses > 1 else str(about.network_address)
        return results.SenderDecision(shown, asked.allow)

    async def certificate(self) -> results.SourceCertificate:
        """The name in this node's certificate and the CA that signed it."""
        me = self._identity()
        return results.SourceCertificate(f"{me.node_id}.{me.mesh_id}.internal", me.ca_pem.decode())

    async def serve_list(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `source.list`: this node's sources; raises Refused for another node that is not an operator."""
        if not peer.is_operator and peer.id != self._mesh.me.id:
            raise Refused(f"{peer.name} is not an operator and cannot read lines of a log", code="not-operator")
        found = [
            results.Source("", pipeline, step, r.name, not r.problem, r.problem, _senders(r, r.counts()))
            for (pipeline, _version, step, _source), r in self._runners.items()
        ]
        return msgspec.msgpack.encode(found)


def source_state(name: str, runner: SourceRunner) -> results.SourceState:
    """A source of this node as `status` shows it."""
    counts = runner.counts()
    return results.SourceState(
        name,
        ok=not runner.problem,
        unread=counts.unread,
        text=runner.problem,
        missing=counts.missing,
        lines=counts.lines,
        bytes=counts.bytes,
        last=_when(counts.last),
        events=counts.events,
        last_event=_when(counts.last_event),
        unrecognised=counts.unrecognised,
        dropped=counts.dropped,
        cut=counts.cut,
        gaps=counts.gaps,
        clock_s=counts.clock_s,
        senders=_senders(runner, counts),
    )


def _senders(runner: SourceRunner, counts: SourceCounts) -> list[results.Sender]:
    none = FoundEvents()
    return [_sender(c, counts.found.get(c.address, none)) for c in runner.senders()[:MAX_SENDERS]]


def _when(unix: float) -> str:
    return when(unix) if unix else ""


def _sender(count: SenderCount, found: FoundEvents) -> results.Sender:
    return results.Sender(
        address=count.address,
        allowed=count.allowed,
        decided=count.decided,
        lines=count.lines,
        bytes=count.bytes,
        last=when(count.last),
        dropped=dict(count.dropped),
        sample=count.sample,
        events=found.events,
        last_event=_when(found.last),
    )
