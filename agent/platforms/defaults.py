"""The defaults of the configuration that follow from the facts of this host."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.config import Config
from agent.platforms.detection import places
from agent.platforms.facts import Host, Platform

MOST_WORKERS = 4
WORKER_MEMORY = 256 << 20
"""Bytes of memory of the host for each WASM worker: the worker takes 15 MB, and a module 64 MiB by default."""
ORIGIN = "this device"


def placed(config: Config, host: Host | None = None) -> Config:
    """The configuration with the folders of this host, where it does not name others.

    A named `state` keeps everything there, unless it is the folder that this host has by default.
    """
    here = places(host or Host())
    origins = dict(config.origins)
    changed: dict[str, Path] = {}
    if config.origin("state") == "default" and here.state != config.state:
        changed["state"] = here.state
    if config.volatile == Path() and here.volatile != here.state == changed.get("state", config.state):
        changed["volatile"] = here.volatile
    if not changed:
        return config
    return msgspec.structs.replace(config, **changed, origins=origins | dict.fromkeys(changed, ORIGIN))


def wasm_workers(platform: Platform) -> int:
    """The number of WASM workers: one for each core, at most MOST_WORKERS, and fewer where there is little memory."""
    room = platform.memory // WORKER_MEMORY if platform.memory else MOST_WORKERS
    return max(1, min(MOST_WORKERS, platform.cores, room))
