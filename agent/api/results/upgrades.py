"""The release that an operator hands out, and upgrades of nodes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent.api.results.base import Answer, NodeName, Size, Time


class NodeVersion(Answer):
    """A live node and its version."""

    node: NodeName
    id: str
    version: str
    current: Annotated[bool, Meta(description="whether this is the release's version")]


class ReleaseState(Answer):
    """The release that this node hands out; `nodes` in the order in which all of them are upgraded."""

    version: str
    channel: str
    protocol: int
    released: Time
    nodes: list[NodeVersion]


class UpgradeState(Answer):
    """How far the upgrade of a node is."""

    node: NodeName
    id: str
    state: Annotated[str, Meta(description="idle, offered, fetching, staged, installing, done or failed")]
    version: Annotated[str, Meta(description="the release's version")]
    running: Annotated[str, Meta(description="the version that the node runs now")]
    text: str = ""
    done: Size = 0
    size: Size = 0
    hint: str = ""
