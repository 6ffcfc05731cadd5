"""This node's announcements: the labels that it should have, its capacity and its cameras."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psutil

from agent import ticks
from agent.cameras import CameraBook
from agent.config import PolicyConfig
from agent.delivery import Journal
from agent.mesh import Mesh
from agent.model.node import Capacity
from agent.node.signed_labels import SignedLabels
from agent.uplink import Uplink

CAPACITY_EVERY = 10.0


async def keep_labels(labels: SignedLabels, wanted: Mapping[str, str], cameras: CameraBook, uplink: Uplink) -> None:
    """Ask for the wanted labels, and for those of cameras and a sink that are there, until cancelled."""
    while True:
        asked = dict(wanted)
        if cameras.list():
            asked["camera"] = "true"
        if uplink.configured:
            asked["uplink"] = "true"
        await labels.want(asked)
        await ticks.sleep(2.0 if labels.unsigned else 10.0)


async def announce_capacity(mesh: Mesh, policy: PolicyConfig, journal: Journal, cameras: CameraBook) -> None:
    """Announce how much work this node can take, and its cameras, when either changes, until cancelled."""
    told: tuple[Any, ...] = ()
    while True:
        memory = int(psutil.virtual_memory().available * policy.memory)
        cpus = (os.cpu_count() or 1) * policy.cpus
        free = max(1, journal.room() // 100)
        now = (cpus, memory >> 28, free, cameras.infos())
        if now != told:
            told = now
            mesh.announce(capacity=Capacity(cpus, memory, free), cameras=cameras.infos())
        await ticks.sleep(CAPACITY_EVERY)
