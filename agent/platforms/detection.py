"""The detection of this host, by all rules together."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from agent.platforms import aarch64, armv7, x86_64
from agent.platforms.facts import Architecture, Host, Platform, Space, VideoDevice, space_of
from agent.platforms.rules import LABELS, flash, gpu, system
from agent.platforms.rules.init import init
from agent.platforms.rules.libc import libc
from agent.platforms.rules.logs import log_source
from agent.platforms.rules.memory import memory
from agent.platforms.rules.model import model
from agent.platforms.rules.neon import neon
from agent.platforms.rules.processor import cores, processor
from agent.platforms.rules.radios import radios
from agent.platforms.rules.video import video

ARCHITECTURES = (armv7.ARCHITECTURE, aarch64.ARCHITECTURE, x86_64.ARCHITECTURE)
_IN_MEMORY = Path("/tmp/edge-agent")  # noqa: S108 - the RAM disk of access points
_STATES = {
    system.OPENWRT: Path("/etc/edge-agent"),
    # Provisioning wipes /etc/persistent, the only other place of its flash that may be written.
    system.UNIFI_AP: _IN_MEMORY,
    # An update of the console keeps /data alone.
    system.UNIFI_OS: Path("/data/edge-agent"),
    system.LINUX: Path("/var/lib/edge-agent"),
}


class Places(NamedTuple):
    """The folders of this host; see Platform. `flash` is the file system of `state`."""

    state: Path
    volatile: Path
    run: Path
    flash: Space


def places(host: Host) -> Places:
    """The folders that suit this host."""
    kind = system.kind(host)
    state = _STATES[kind]
    durable = flash.flash(host, state)
    access_point = kind in (system.OPENWRT, system.UNIFI_AP)
    return Places(
        state,
        _IN_MEMORY if access_point or flash.is_small(durable) else state,
        Path("/var/run/edge-agent") if access_point else Path("/run/edge-agent"),
        durable,
    )


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
    return log_source(Host(environ=os.environ))


def video_devices(root: Path = Path("/")) -> list[VideoDevice]:
    """The V4L2 devices of this host that may be cameras, `Platform.video` alone; nothing is opened."""
    return list(video(Host(root)))


def detect(
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    machine: str = "",
    docker_host: str = "",
    space: Callable[[Path], Space] = space_of,
) -> Platform:
    """The facts of this host; never raises. Takes some milliseconds, and up to a second where a container engine hangs.

    `labels` has no reserved label: `arch` is in `Platform.arch`.
    """
    host = Host(root, os.environ if environ is None else environ, docker_host, space)
    arch = architecture(machine or platform.machine(), struct.calcsize("P") * 8 if not machine else 64)
    folders = places(host)
    labels: dict[str, str] = {}
    for rule in LABELS:
        labels |= rule(host)
    return Platform(
        arch=arch.name,
        engine=arch.engine,
        system=system.kind(host),
        log_source=log_source(host),
        state=folders.state,
        volatile=folders.volatile,
        run=folders.run,
        labels=labels,
        gpus=gpu.count(host),
        name=system.name(host),
        model=model(host),
        processor=processor(host),
        cores=cores(host),
        neon=neon(host, arch.name),
        memory=memory(host),
        flash=folders.flash,
        small_flash=flash.is_small(folders.flash),
        video=video(host),
        radios=radios(host),
        init=init(host),
        libc=libc(host),
    )
