"""Test doubles: a mesh in memory whose links can be cut, and a blob store in memory. Tested in tests/doubles itself."""

from tests.doubles.memory import MemoryBlobs, MemoryMesh, MemoryNet

__all__ = ["MemoryBlobs", "MemoryMesh", "MemoryNet"]
