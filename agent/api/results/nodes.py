"""Nodes, nodes that wait to join, and tokens."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent.api.results.base import Answer, NodeName, Role, Size, Time
from agent.api.results.status import Certificate, DeviceFacts, NodeCamera, NodeState
from agent.model.install_line import InstallLines


class ListedNode(NodeState):
    """A node with the names of its cameras."""

    cameras: list[str]


class NodeCapacity(Answer):
    """The work that a node can still take."""

    cpus: Annotated[float, Meta(description="cores")]
    memory: Size
    free: Annotated[int, Meta(description="free places in its queue, in hundreds")]
    gpus: int


class DescribedNode(NodeState, kw_only=True):
    """A node with all known details."""

    capacity: NodeCapacity
    cameras: list[NodeCamera]
    steps: Annotated[list[str], Meta(description="PIPELINE/STEP that it matches")]
    certificate: Certificate | None = None
    device: Annotated[DeviceFacts | None, Meta(description="of this node; on an operator of live nodes too")] = None


class Pending(Answer):
    """A node that wants to join, or labels that a node asks for."""

    code: str
    kind: Annotated[str, Meta(description="join or labels")]
    node: NodeName
    id: str
    since: Time
    labels: Annotated[dict[str, str], Meta(description="the labels that it asks for")]


class LabelledNode(Answer):
    """A node and all its signed labels."""

    id: str
    node: NodeName
    labels: dict[str, str]


class RenamedNode(Answer):
    """A node with its new name; `-2` is added where the name is taken."""

    id: str
    node: NodeName
    was: str


class RemovedNode(Answer):
    """A node that is removed for good."""

    id: str
    node: NodeName
    confirmed: Annotated[list[str], Meta(description="names of the nodes that know it")]
    unconfirmed: Annotated[list[str], Meta(description="names of the nodes that have not answered yet")]
    hint: Annotated[str, Meta(description="the next action, if the node had a key of the sink")] = ""


class NewToken(Answer):
    """A token; its secret is shown only once."""

    id: str
    token: str
    expires: Time
    uses: Annotated[int, Meta(description="how many nodes may join with it")]
    role: Role
    labels: dict[str, str]
    line: Annotated[str, Meta(description="the command for the next device")]
    install: Annotated[
        InstallLines | None,
        Meta(description="the commands that also install it; null where this node holds no release"),
    ] = None


class ListedToken(Answer):
    """A token without its secret."""

    id: str
    role: Role
    labels: dict[str, str]
    expires: Time
    uses: Annotated[int, Meta(description="how many nodes may join with it")]
    left: Annotated[int, Meta(description="how many of them have not joined yet")]
    created: Time
    state: Annotated[str, Meta(description="open, used, expired or revoked")]
