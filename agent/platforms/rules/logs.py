"""The place of the system's log."""

from __future__ import annotations

from agent.platforms.facts import Host
from agent.platforms.rules.system import OPENWRT, kind

FILES = ("/var/log/messages", "/var/log/syslog")
LOGREAD = ("/sbin/logread", "/usr/sbin/logread", "/bin/logread", "/usr/bin/logread")
JOURNALS = ("/run/log/journal", "/var/log/journal", "/run/systemd/journal/socket")


def log_source(host: Host) -> str:
    """`logread` on OpenWrt (its log is in RAM), else a syslog file, else `journald`; empty where there is none."""
    logread = any(host.exists(p) for p in LOGREAD)
    if kind(host) == OPENWRT and logread:
        return "logread"
    for path in FILES:
        if host.is_file(path):
            return str(host.path(path))
    if any(host.exists(p) for p in JOURNALS):
        return "journald"
    return "logread" if logread else ""
