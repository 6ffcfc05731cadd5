"""Test doubles: a mesh and a blob store in memory; virtual time, a journal's disk and a network that a test disturbs.

They are tested in tests/doubles/test_doubles.py.
"""

from tests.doubles.disk import Disk, SimulatedStorage
from tests.doubles.memory import MemoryBlobs, MemoryMesh, MemoryNet
from tests.doubles.network import SimulatedMesh, SimulatedNet, Weather
from tests.doubles.virtual import CLOCK, Stalled, VirtualLoop, run_virtually, virtual_time

__all__ = [
    "CLOCK", "Disk", "MemoryBlobs", "MemoryMesh", "MemoryNet", "SimulatedMesh", "SimulatedNet", "SimulatedStorage", "Stalled",
    "VirtualLoop", "Weather", "run_virtually", "virtual_time",
]  # fmt: skip
