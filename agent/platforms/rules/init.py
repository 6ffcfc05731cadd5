"""Which program starts services here?"""

from __future__ import annotations

from agent.platforms.facts import Host

SYSTEMD, PROCD, OPENRC, BUSYBOX, SYSV = "systemd", "procd", "openrc", "busybox", "sysv"
_FILES = (
    ("/run/systemd/system", SYSTEMD),  # sd_booted(3)
    ("/sbin/procd", PROCD),
    ("/run/openrc", OPENRC),
    ("/sbin/openrc", OPENRC),
    ("/etc/inittab", ""),
)


def init(host: Host) -> str:
    """The init system; empty where it is not known, as in most containers."""
    for path, name in _FILES:
        if host.exists(path):
            return name or (BUSYBOX if host.exists("/bin/busybox") else SYSV)
    return PROCD if host.line("/proc/1/comm") == PROCD else ""
