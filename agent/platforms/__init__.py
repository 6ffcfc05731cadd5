"""The abilities of this hardware: WASM engine, log source, paths and detected labels."""

from agent.platforms.detection import architecture, detect
from agent.platforms.facts import Architecture, Platform

__all__ = ["Architecture", "Platform", "architecture", "detect"]
