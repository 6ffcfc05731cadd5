"""Is there a GPU that detectors can use?"""

from __future__ import annotations

from agent.platforms.facts import Host


def labels(host: Host) -> dict[str, str]:
    """`gpu=true` where NVIDIA's driver has made a device; only starting a container proves that it works."""
    return {"gpu": "true"} if host.exists("/dev/nvidia0") else {}
