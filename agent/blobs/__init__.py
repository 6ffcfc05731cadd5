"""Blobs: bytes named by their CID; kept on disk within a quota while they are needed, moved between nodes, every block verified."""

from agent.blobs.by_hand import ByHand
from agent.blobs.car import write_car
from agent.blobs.exchange import BlobExchange
from agent.blobs.hashing import hash_bytes
from agent.blobs.registry import GivesWay, Need, Registry
from agent.blobs.store import BlobStore, Usage

__all__ = [
    "BlobExchange", "BlobStore", "ByHand", "GivesWay", "Need", "Registry", "Usage", "hash_bytes", "write_car",
]  # fmt: skip
