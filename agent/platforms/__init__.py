"""The abilities of this hardware: WASM engine, log source, paths and detected labels."""

from agent.platforms.detection import architecture, detect
from agent.platforms.facts import Architecture, Platform
from agent.platforms.firewall import TOOLS, firewall_tool, open_port

__all__ = ["TOOLS", "Architecture", "Platform", "architecture", "detect", "firewall_tool", "open_port"]
