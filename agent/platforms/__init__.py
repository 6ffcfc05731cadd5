"""The abilities of this hardware: WASM engine, memory, flash, log source, paths and detected labels."""

from agent.platforms.defaults import placed, wasm_workers
from agent.platforms.detection import architecture, detect, system_log, video_devices
from agent.platforms.durable import survives_power_cut
from agent.platforms.facts import Architecture, Host, Platform, Space, VideoDevice
from agent.platforms.firewall import TOOLS, firewall_tool, open_port
from agent.platforms.timezone import use_host_zone

__all__ = [
    "TOOLS",
    "Architecture",
    "Host",
    "Platform",
    "Space",
    "VideoDevice",
    "architecture",
    "detect",
    "firewall_tool",
    "open_port",
    "placed",
    "survives_power_cut",
    "system_log",
    "use_host_zone",
    "video_devices",
    "wasm_workers",
]
