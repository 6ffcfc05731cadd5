"""Blobs: bytes named by their CID; kept on disk within a quota while they are needed, moved between nodes, every block verified."""

from agent.blobs.by_hand import ByHand
from agent.blobs.car import write_car
from agent.model.cid import Cid, is_cid, parse_cid, raw_cid
from agent.blobs.exchange import BlobExchange
from agent.blobs.hashing import hash_bytes
from agent.blobs.registry import Need, Registry
from agent.blobs.store import MAX_BLOB, BlobStore, Usage

__all__ = [
    "MAX_BLOB",
    "BlobExchange",
    "BlobStore",
    "ByHand",
    "Cid",
    "Need",
    "Registry",
    "Usage",
    "hash_bytes",
    "is_cid",
    "parse_cid",
    "raw_cid",
    "write_car",
]
