"""The time zone of hosts on which the C library does not know it: OpenWrt has it in `/etc/TZ` and `/etc/config/system`.

The agent's packages bring their own C library, which reads `/etc/localtime` and the variable `TZ` alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import MutableMapping
from pathlib import Path

from agent.platforms.facts import Host

_POSIX = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d[A-Za-z0-9<>+\-,./:]*")
_OPTION = re.compile(r"^\s*option\s+(timezone|zonename)\s+(['\"]?)([^'\"\s]+)\2\s*$", re.MULTILINE)


def zone_of(host: Host) -> str:
    """The host's zone as a value for TZ (POSIX.1, or the name of a zone that is installed); empty where nothing says it."""
    if host.exists("/etc/localtime"):
        return ""
    text = host.text("/etc/TZ").strip()
    if _POSIX.fullmatch(text):
        return text
    options = {m[1]: m[3] for m in _OPTION.finditer(host.text("/etc/config/system"))}
    if _POSIX.fullmatch(options.get("timezone", "")):
        return options["timezone"]
    name = options.get("zonename", "").replace(" ", "_")
    known = re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", name) and host.exists(f"/usr/share/zoneinfo/{name}")
    return name if known else ""


def use_host_zone(root: Path = Path("/"), environ: MutableMapping[str, str] = os.environ) -> str:
    """Make local time in this process that of the host; returns the zone that was set, empty where the C library knows it."""
    zone = "" if "TZ" in environ else zone_of(Host(root))
    if zone:
        environ["TZ"] = zone
        time.tzset()
    return zone
