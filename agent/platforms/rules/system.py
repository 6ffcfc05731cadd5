"""Which kind of system is this: OpenWrt, a UniFi access point, a UniFi OS console, or another Linux?"""

from __future__ import annotations

from agent.platforms.facts import Host, settings, shown

OPENWRT, UNIFI_AP, UNIFI_OS, LINUX = "openwrt", "unifi-ap", "unifi-os", "linux"
KINDS = (OPENWRT, UNIFI_AP, UNIFI_OS, LINUX)


def kind(host: Host) -> str:
    """One of KINDS.

    Ubiquiti's firmware of access points grew from OpenWrt and may have its files, so it is looked for first. A console is a
    Debian with the folder /data/unifi-core.
    """
    if host.exists("/data/unifi-core") or host.exists("/usr/bin/ubnt-device-info"):
        return UNIFI_OS
    if host.exists("/usr/bin/syswrapper.sh") or host.exists("/bin/ubntbox"):
        return UNIFI_AP
    return OPENWRT if host.exists("/etc/openwrt_release") else LINUX


def name(host: Host) -> str:
    """The system's own name and version; empty where no file says it."""
    found = kind(host)
    if found == OPENWRT:
        return settings(host.text("/etc/openwrt_release")).get("DISTRIB_DESCRIPTION", "OpenWrt")
    if found == UNIFI_AP:
        return f"UniFi {host.line('/etc/version')}".strip()
    release = settings(host.text("/etc/os-release")) or settings(host.text("/usr/lib/os-release"))
    name = release.get("PRETTY_NAME", "")
    if found == UNIFI_OS:
        return shown(f"UniFi OS {host.line('/usr/lib/version')}".strip() + (f" on {name}" if name else ""))
    return name


def labels(host: Host) -> dict[str, str]:
    """`os=openwrt`, `os=unifi-ap` or `os=unifi-os`; nothing on another Linux."""
    found = kind(host)
    return {} if found == LINUX else {"os": found}
