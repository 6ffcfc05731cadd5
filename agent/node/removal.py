"""The removal of this node from its mesh: an operator tells it, and the node remembers it and does not knock any more."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path

import msgspec

from agent.errors import IdentityError, Refused
from agent.files import read_private, write_private
from agent.identity import PeerIdentity
from agent.model.decoding import DAMAGED
from agent.model.event import now

log = logging.getLogger(__name__)

FILE = "removed.json"
OF_THE_MESH = ("identity", "documents", "mesh", "join.json", "tokens.json", FILE)
"""The files that belong to one mesh alone. The file that tells the removal is the last, so that a crash changes nothing."""
ANSWER = 0.2
"""Seconds for which the node goes on, so that its answer reaches the operator."""


class Removed(msgspec.Struct, frozen=True):
    """The name of the operator that removed this node, and when that was told (RFC 3339, this node's clock)."""

    by: str
    at: str


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


def removed_error(removed: Removed) -> IdentityError:
    """The error that a removed node ends with."""
    return IdentityError(
        f"this node was removed from the mesh by {removed.by} on {removed.at}; its cameras and configuration are kept",
        code="identity.removed",
        hint="join again with edge-agent serve --join TOKEN (an operator makes one: edge-agent token create)",
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
