"""Which V4L2 devices may be cameras?"""

from __future__ import annotations

import re

from agent.platforms.facts import Host, VideoDevice

FOLDER = "/sys/class/video4linux"
MOST = 16
"""Most devices that are named."""
_NODE = re.compile(r"video\d{1,3}\Z")
_ENGINE = re.compile(r"codec|isp\b|isp-|rpivid|hevc|decoder|encoder|-dec\b|-enc\b|venus|hantro", re.IGNORECASE)
"""Drivers that convert pictures and take none: a Raspberry Pi has a dozen of them."""


def video(host: Host) -> tuple[VideoDevice, ...]:
    """The first device node of each camera. Its other nodes, for metadata, have a greater `index`."""
    nodes = [n for n in host.names(FOLDER) if _NODE.match(n)]
    found = []
    for node in sorted(nodes, key=lambda n: int(n[5:])):
        name, index = host.line(f"{FOLDER}/{node}/name"), host.line(f"{FOLDER}/{node}/index")
        if index in ("", "0") and not _ENGINE.search(name):
            found.append(VideoDevice(f"/dev/{node}", name or node))
    return tuple(found[:MOST])
