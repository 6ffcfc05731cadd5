"""The detection of this host, by all rules together."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Mapping
from pathlib import Path

from agent.platforms import aarch64, armv7, x86_64
from agent.platforms.facts import Architecture, Host, Platform
from agent.platforms.rules import LABELS, gpu
from agent.platforms.rules.logs import log_source
from agent.platforms.rules.openwrt import is_openwrt

ARCHITECTURES = (armv7.ARCHITECTURE, aarch64.ARCHITECTURE, x86_64.ARCHITECTURE)


def architecture(machine: str, bits: int) -> Architecture:
    """The architecture for the output of `uname -m`; a 32-bit Python on a 64-bit ARM kernel is armv7.

    An unknown machine keeps its name and gets the interpreter, which runs everywhere.
    """
    machine = machine.lower()
    for known in ARCHITECTURES:
        if machine in known.machines:
            return armv7.ARCHITECTURE if known is aarch64.ARCHITECTURE and bits == 32 else known
    return Architecture(name=machine or "unknown", machines=(machine,), engine="wasm3")


def system_log() -> str:
    """The source of this host's log, `Platform.log_source` alone: it costs a few looks at the file system."""
    return log_source(Host(Path("/"), os.environ))


def detect(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None, machine: str = "", docker_host: str = ""
) -> Platform:
    """The facts of this host; never raises. Takes up to a second where a container engine hangs.

    `labels` has no reserved label: `arch` is in `Platform.arch`.
    """
    host = Host(root, os.environ if environ is None else environ, docker_host)
    arch = architecture(machine or platform.machine(), struct.calcsize("P") * 8 if not machine else 64)
    openwrt = is_openwrt(host)
    labels: dict[str, str] = {}
    for rule in LABELS:
        labels |= rule(host)
    state = Path("/etc/edge-agent") if openwrt else Path("/var/lib/edge-agent")
    return Platform(
        arch=arch.name,
        engine=arch.engine,
        openwrt=openwrt,
        log_source=log_source(host),
        state=state,
        volatile=Path("/tmp/edge-agent") if openwrt else state,  # noqa: S108 - OpenWrt's /tmp is its RAM disk
        run=Path("/var/run/edge-agent") if openwrt else Path("/run/edge-agent"),
        labels=labels,
        gpus=gpu.count(host),
    )
