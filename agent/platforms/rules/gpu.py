"""Is there a GPU that detectors can use?"""

from __future__ import annotations

from agent.platforms.facts import Host


def labels(host: Host) -> dict[str, str]:
    """`gpu=true` where NVIDIA's driver has made a device; only starting a container proves that it works."""
    return {"gpu": "true"} if count(host) else {}


MOST = 64


def count(host: Host) -> int:
    """How many GPUs NVIDIA's driver has made a device for, at most MOST."""
    return next((n for n in range(MOST) if not host.exists(f"/dev/nvidia{n}")), MOST)
