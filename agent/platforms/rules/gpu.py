"""Is there a GPU that detectors can use?"""

from __future__ import annotations

import itertools

from agent.platforms.facts import Host


def labels(host: Host) -> dict[str, str]:
    """`gpu=true` where NVIDIA's driver has made a device; only starting a container proves that it works."""
    return {"gpu": "true"} if count(host) else {}


def count(host: Host) -> int:
    """How many GPUs NVIDIA's driver has made a device for."""
    return next(n for n in itertools.count() if not host.exists(f"/dev/nvidia{n}"))
