"""The name and the model of this device."""

from __future__ import annotations

from agent.platforms.facts import Host, settings

_MADE_UP = ("to be filled by o.e.m.", "default string", "system product name", "not applicable", "none", "o.e.m.")
"""Texts that makers of PC boards leave where the name belongs."""


def model(host: Host) -> str:
    """The device's name: of Ubiquiti's board, of OpenWrt's start, of the device tree, or of the PC's firmware."""
    board = settings(host.text("/etc/board.info"))
    console = settings(host.text("/proc/ubnthal/system.info"))
    names = (
        board.get("board.name", ""),
        console.get("name", ""),
        console.get("shortname", ""),
        host.line("/tmp/sysinfo/model"),  # noqa: S108 - OpenWrt writes it at its start
        host.line("/proc/device-tree/model"),
        _pc(host),
    )
    return next((n for n in names if n), "")


def _pc(host: Host) -> str:
    parts = [host.line(f"/sys/class/dmi/id/{part}") for part in ("sys_vendor", "product_version", "product_name")]
    vendor, version, product = ("" if p.lower() in _MADE_UP else p for p in parts)
    # Lenovo has its numbers in the name and the name in the version.
    named = version if vendor.lower() == "lenovo" and version else product
    return named if named.startswith(vendor) else f"{vendor} {named}".strip()
