"""The labels that this node should have."""

from __future__ import annotations

from collections.abc import Mapping

from agent import ticks
from agent.cameras import CameraBook
from agent.node.signed_labels import SignedLabels
from agent.uplink import Uplink


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
