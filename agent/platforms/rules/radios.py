"""Which Wi-Fi radios has it?"""

from __future__ import annotations

import re

from agent.platforms.facts import Host

MOST = 8
_VENDOR = re.compile(r"(?:wifi|ra|rai|rax)\d\Z")
"""Interfaces of drivers that are no part of the kernel: Qualcomm's and MediaTek's, on vendors' access points."""


def radios(host: Host) -> tuple[str, ...]:
    """The names of the radios: `phy0` in the kernel's own drivers, `wifi0` or `ra0` in vendors' drivers."""
    own = [n for n in host.names("/sys/class/ieee80211") if n.startswith("phy") or n.startswith("radio")]
    return tuple((own or [n for n in host.names("/sys/class/net") if _VENDOR.match(n)])[:MOST])


def labels(host: Host) -> dict[str, str]:
    """`radio=true` where there is a radio."""
    return {"radio": "true"} if radios(host) else {}
