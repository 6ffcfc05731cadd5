"""Peers remembered on disk, so that a node finds its mesh again after a restart without any discovery."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from agent.files import read_private, write_private
from agent.mesh.addresses import usable_addresses
from agent.model.decoding import DAMAGED

logger = logging.getLogger(__name__)

MAX_PEERS = 256
MAX_ENDPOINTS = 8
_VERSION = 1


class RememberedPeer(msgspec.Struct, omit_defaults=True):
    """A node and where it was reached or said to be reached; the newest endpoints come first."""

    id: str
    name: str = ""
    endpoints: list[str] = []


class _File(msgspec.Struct):
    version: int
    peers: list[RememberedPeer]


class PeerBook:
    """The remembered peers, newest first; a file 0600, written atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._peers: dict[str, RememberedPeer] = {}
        self._changed = False
        self._load()

    def all(self) -> list[RememberedPeer]:
        """The remembered peers, the last seen first."""
        return list(reversed(self._peers.values()))

    def remember(self, node: str, name: str, endpoints: list[str]) -> None:
        """Remember where a node is; endpoints that it no longer names move to the end of the list, where
        they are the first to be dropped.
        """
        old = self._peers.get(node)
        kept = old.endpoints if old is not None else []
        merged = list(dict.fromkeys([*endpoints, *kept]))[:MAX_ENDPOINTS]
        new = RememberedPeer(node, name, merged)
        if new == old:
            return
        self._peers.pop(node, None)
        self._peers[node] = new
        while len(self._peers) > MAX_PEERS:
            self._peers.pop(next(iter(self._peers)))
        self._changed = True

    def forget(self, node: str) -> None:
        """Forget a removed node."""
        if self._peers.pop(node, None) is not None:
            self._changed = True

    async def save(self) -> None:
        """Write the file if something changed; a failure is logged and tried again at the next change."""
        if not self._changed:
            return
        self._changed = False
        data = msgspec.json.format(msgspec.json.encode(_File(_VERSION, list(self._peers.values()))))
        try:
            await asyncio.to_thread(write_private, self._path, data)
        except OSError as error:
            self._changed = True
            logger.warning("the peers could not be remembered: %s", error)

    def _load(self) -> None:
        data = read_private(self._path)
        if data is None:
            return
        try:
            file = msgspec.json.decode(data, type=_File)
        except DAMAGED as error:
            logger.warning("%s is damaged; creating a new one: %s", self._path, error)
            return
        if file.version == _VERSION:
            for peer in file.peers[:MAX_PEERS]:
                peer.endpoints = usable_addresses(peer.endpoints, 0)
                self._peers[peer.id] = peer
