"""The abilities of this hardware: WASM engine, log source, paths and detected labels."""

from agent.platforms.detection import architecture, detect, system_log
from agent.platforms.durable import survives_power_cut
from agent.platforms.facts import Architecture, Platform
from agent.platforms.firewall import TOOLS, firewall_tool, open_port
from agent.platforms.timezone import use_host_zone

__all__ = [
    "TOOLS",
    "Architecture",
    "Platform",
    "architecture",
    "detect",
    "firewall_tool",
    "open_port",
    "survives_power_cut",
    "system_log",
    "use_host_zone",
]
