"""Is this OpenWrt?"""

from __future__ import annotations

from agent.platforms.facts import Host


def is_openwrt(host: Host) -> bool:
    """Every OpenWrt has /etc/openwrt_release; so do its derivatives, GL.iNet's among them."""
    return host.exists("/etc/openwrt_release")
