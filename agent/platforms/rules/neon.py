"""Has an ARM processor NEON? The agent's libraries (zenoh, cryptography) are built for it."""

from __future__ import annotations

import re

from agent.platforms.facts import Host
from agent.platforms.rules.processor import CPUINFO

_FEATURES = re.compile(r"^Features\s*:(.*)$", re.MULTILINE)


def neon(host: Host, arch: str) -> bool | None:
    """Whether it has NEON (`neon`, on 64-bit kernels `asimd`); None on other processors, and where nothing says it."""
    found = _FEATURES.search(host.text(CPUINFO)) if arch in ("armv7", "aarch64") else None
    return None if found is None else bool({"neon", "asimd"} & set(found[1].split()))
