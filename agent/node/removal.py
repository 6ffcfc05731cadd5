"""The removal of this node from its mesh: an operator tells it, and the node remembers it and does not knock any more."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agent import ticks
from agent.errors import EdgeError, IdentityError, Refused
from agent.files import read_private, write_private
from agent.health import HealthRegistry
from agent.identity import PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.event import now
from agent.model.health import Warning

log = logging.getLogger(__name__)

FILE = "removed.json"
OF_THE_MESH = ("identity", "documents", "mesh", "join.json", "tokens.json", FILE)
"""The files that belong to one mesh alone. The file that tells the removal is the last, so that a crash changes nothing."""
ANSWER = 0.2
"""Seconds for which the node goes on, so that its answer reaches the operator."""


ALONE, ASK_EVERY = 60.0, 900.0
"""Seconds without another live node before this node asks whether it was removed, and between two questions."""
REMEDY = "join again with edge-agent serve --join TOKEN (an operator makes one: edge-agent token create)"


class Removed(msgspec.Struct, frozen=True):
    """The name of the operator that removed this node, and when that was told (RFC 3339, this node's clock)."""

    by: str
    at: str
    told: bool = True
    """Whether an operator told it; else an enrolment server did, which any member has: that ends no node."""


class Removal:
    """Waits for the removal of this node."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._removed: Removed | None = None
        self._event = asyncio.Event()

    async def serve(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `node.removed`; raises Refused where the peer is not an operator."""
        del body
        if not peer.is_operator:
            raise Refused(f"{peer.name} is not an operator", hint="run it on an operator", code="not-operator")
        self._removed = Removed(peer.name, now())
        await asyncio.to_thread(write_private, self._state / FILE, msgspec.json.encode(self._removed))
        self._event.set()
        return b""

    async def run(self) -> None:
        """Wait for it, then raise IdentityError, which ends the node."""
        await self._event.wait()
        await asyncio.sleep(ANSWER)
        if self._removed is not None:
            raise removed_error(self._removed)


def removal_of(state: Path) -> Removed | None:
    """The removal that this node was told, None where it was told none."""
    raw = read_private(state / FILE)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Removed)
    except DAMAGED as e:
        log.warning("%s is damaged: %s", state / FILE, e)
        return Removed("an operator", "an unknown day")


async def ask_when_alone(
    node_state: Path, mesh: Mesh, health: HealthRegistry, ask: Callable[[], Awaitable[object]]
) -> None:
    """While no other node is live, ask an enrolment server now and then whether this node was removed meanwhile.

    `ask` raises EdgeError with the code `identity.removed` where it was. Runs until cancelled.
    """
    while True:
        await ticks.sleep(ALONE)
        if len(mesh.live()) == 1 and len(mesh.endpoints()) > 0:
            await ask_once(node_state, mesh.me.name, health, ask)
            await ticks.sleep(ASK_EVERY)


async def ask_once(state: Path, name: str, health: HealthRegistry, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask, and warn where this node was removed; `serve --join TOKEN` then joins as a new node."""
    try:
        await ask()
    except EdgeError as e:
        if e.code != "identity.removed":
            return
        await asyncio.to_thread(write_private, state / FILE, msgspec.json.encode(Removed("an operator", now(), False)))
        text = "this node was removed from the mesh while it was away, says an enrolment server"
        health.set(Warning("node.removed", name, text, REMEDY, "error"))
    else:
        health.clear("node.removed")


def removed_error(removed: Removed) -> IdentityError:
    """The error that a removed node ends with."""
    return IdentityError(
        f"this node was removed from the mesh by {removed.by} on {removed.at}; its cameras and configuration are kept",
        code="identity.removed",
        hint=REMEDY,
    )


def set_aside(state: Path) -> Path:
    """Move the files of the old mesh into a folder beside it, and return that folder."""
    numbers = itertools.count(1)
    while ((folder := state / f"removed-{next(numbers)}") / FILE).exists():
        pass
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in OF_THE_MESH:
        if (state / name).exists():
            (state / name).rename(folder / name)
    return folder
