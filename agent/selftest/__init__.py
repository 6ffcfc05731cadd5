"""Exercises what an agent consists of, on this device and without a running agent: for a new installation."""

from agent.selftest.run import PARTS, Part, run_parts
from agent.selftest.seen import Seen

__all__ = ["PARTS", "Part", "Seen", "run_parts"]
