"""What this hardware can do: WASM engine, log source, paths and the labels that can be detected."""

from agent.platforms.detection import architecture, detect
from agent.platforms.facts import Architecture, Platform

__all__ = ["Architecture", "Platform", "architecture", "detect"]
