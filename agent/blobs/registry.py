"""The registry of needs: whether a blob is still needed on this node, and which nodes may read it.

Rows, programs and blobs added by hand are each a `Need`; pins cover a blob while it arrives. The store deletes and evicts only
blobs that the registry does not call needed. A new kind of need (jobs) is one more class here or above, added at construction.
"""

from __future__ import annotations

from typing import Literal, Protocol

GivesWay = Literal["never", "first", "last"]
"""When the blobs of a need are evicted: never; `first`, when blobs without a need cannot make enough room; `last`, when
those of `first` cannot either.
"""
_RANK: dict[GivesWay, int] = {"first": 1, "last": 2, "never": 3}
ROUNDS = range(3)
"""Rounds of an eviction: blobs without a need, then those that give way first, then those that give way last."""


class Need(Protocol):
    """One reason to keep blobs. Threads of the store call these methods too: they neither wait nor raise."""

    @property
    def gives_way(self) -> GivesWay:
        """When its blobs are evicted."""

    def needs(self, cid: str) -> bool:
        """Whether it needs the blob."""

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether the node may read the blob because of it."""


class Pins:
    """Blobs that owners hold for a while, in memory. Not thread-safe: the store calls it under its lock."""

    gives_way: GivesWay = "never"

    def __init__(self) -> None:
        self._owners: dict[str, set[str]] = {}
        self._cids: dict[str, set[str]] = {}

    def pin(self, cid: str, owner: str) -> None:
        """Hold a blob, here or still to come, until `owner` lets go."""
        self._owners.setdefault(cid, set()).add(owner)
        self._cids.setdefault(owner, set()).add(cid)

    def unpin(self, owner: str) -> None:
        """Let go of everything that `owner` holds."""
        for cid in self._cids.pop(owner, ()):
            owners = self._owners[cid]
            owners.discard(owner)
            if not owners:
                del self._owners[cid]

    def needs(self, cid: str) -> bool:
        """Whether an owner holds the blob."""
        return cid in self._owners

    def may_read(self, node_id: str, cid: str) -> bool:
        """No other node reads a blob that is only held."""
        return False


class Registry:
    """Every need of this node."""

    def __init__(self) -> None:
        self.pins = Pins()
        self._needs: list[Need] = [self.pins]

    def add(self, need: Need) -> None:
        """Ask this need too. Parts add theirs when they are built, before any blob can be deleted."""
        self._needs.append(need)

    def needed(self, cid: str, *, evicting: int = 0) -> bool:
        """Whether the blob must stay; `evicting` is the round of an eviction, in which some needs no longer count."""
        return any(need.needs(cid) for need in self._needs if _RANK[need.gives_way] > evicting)

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether the node may read the blob."""
        return any(need.may_read(node_id, cid) for need in self._needs)
