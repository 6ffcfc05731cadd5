"""Does this host's log record joins of the Wi-Fi?"""

from __future__ import annotations

from agent.platforms.facts import Host
from agent.platforms.rules.logs import log_source
from agent.platforms.rules.system import OPENWRT, kind

HOSTAPD = ("/var/run/hostapd", "/run/hostapd")
"""Folders of hostapd's control sockets while it runs."""


def labels(host: Host) -> dict[str, str]:
    """`wifi-log=true` where there is a log and an access point writes to it."""
    access_point = any(host.exists(path) for path in HOSTAPD) or (
        kind(host) == OPENWRT and host.exists("/etc/config/wireless")
    )
    return {"wifi-log": "true"} if access_point and log_source(host) else {}
