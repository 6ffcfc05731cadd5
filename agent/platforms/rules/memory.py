"""How much memory is there?"""

from __future__ import annotations

import re

from agent.platforms.facts import Host

SMALL = 600 << 20
"""Devices with less than so many bytes have the label `memory=small`: access points have 128 to 512 MiB."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""The limit of a container, in cgroup 2 and 1."""
_TOTAL = re.compile(r"^MemTotal:\s*(\d{1,15}) kB", re.MULTILINE)


def memory(host: Host) -> int:
    """Bytes of memory, or the container's limit where that is less; 0 where nothing says it."""
    found = _TOTAL.search(host.text("/proc/meminfo"))
    total = int(found[1]) * 1024 if found else 0
    limits = [int(text) for text in map(host.line, LIMITS) if text.isascii() and text.isdigit() and len(text) < 20]
    return min([total, *(n for n in limits if n)]) if total else 0


def labels(host: Host) -> dict[str, str]:
    """`memory=small` on devices with less than SMALL bytes."""
    return {"memory": "small"} if 0 < memory(host) < SMALL else {}
