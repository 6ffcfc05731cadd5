"""The way from this node to others."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from agent.api.results.base import Answer, Millis, NodeName, Seconds
from agent.api.results.status import Check

Way = Annotated[
    Literal["self", "direct", "relayed", "none"],
    Meta(description="relayed: another node carries the traffic; none: no way leads there now"),
]


class PingAnswer(Answer):
    """One round trip to a node."""

    node: NodeName
    id: str
    ms: Millis
    offset_s: Annotated[Seconds, Meta(description="the node's clock minus the clock here")]
    way: Way
    address: Annotated[str, Meta(description="host:port of its end of the direct link; empty without one")]
    version: str


class Connection(Answer):
    """A TCP connection that was tried."""

    address: Annotated[str, Meta(description="host:port")]
    error: Annotated[str, Meta(description="empty where it was made")] = ""


class MdnsState(Answer):
    """The discovery of nodes by mDNS."""

    on: bool
    error: Annotated[str, Meta(description="why it does not work now, else empty")]
    heard: Annotated[list[NodeName], Meta(description="nodes of this mesh whose announcements came")]
    missed: Annotated[list[NodeName], Meta(description="other live nodes of this mesh")]


class NodeNetwork(Answer):
    """The way to one node. Absent fields are unknown, since the node did not answer."""

    node: NodeName
    id: str
    alive: bool
    way: Way
    there: Annotated[list[Connection], Meta(description="from here to the addresses that the node announces")]
    ms: Annotated[float | None, Meta(description="milliseconds of a round trip")] = None
    offset_s: Annotated[float | None, Meta(description="the node's clock minus the clock here, in seconds")] = None
    mtu: Annotated[int | None, Meta(description="the kernel's MTU of the way there, in bytes")] = None
    large: Annotated[bool | None, Meta(description="whether 16 KiB went there and back")] = None
    back: Annotated[list[Connection] | None, Meta(description="from the node to the addresses of this node")] = None
    error: Annotated[str, Meta(description="why the node could not be asked, else empty")] = ""


class NetCheck(Answer):
    """The network of this node as far as the mesh needs it."""

    node: NodeName
    listen: Annotated[str, Meta(description="host:port of the mesh")]
    addresses: Annotated[list[str], Meta(description="the addresses that this node announces")]
    mdns: MdnsState
    nodes: list[NodeNetwork]
    findings: Annotated[list[Check], Meta(description="what is wrong and what to do; one ok row where nothing is")]
