"""Bytes that tests of the blobs are made of."""

from __future__ import annotations


def pattern(size: int) -> bytes:
    """`size` bytes where byte i is (7 i + i // 8192) mod 256: every chunk differs, and it is quick to make."""
    blocks = [bytes((j * 7 + k) & 255 for j in range(256)) * 32 for k in range(256)]
    count = -(-size // 8192)
    return b"".join(blocks[k % 256] for k in range(count))[:size]
