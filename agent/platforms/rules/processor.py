"""Which processor is this, and how many cores has it?"""

from __future__ import annotations

import re

from agent.platforms.facts import Host, settings, shown

CPUINFO = "/proc/cpuinfo"
MOST_CORES = 4096
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")


def processor(host: Host) -> str:
    """The processor's name; on ARM with the name of its chip, such as `qcom,ipq8064`, where the device tree has it."""
    chips = host.read("/proc/device-tree/compatible").decode(errors="replace").rstrip("\0").split("\0")
    known = settings(host.text(CPUINFO), ":")
    name = known.get("model name") or known.get("Hardware") or known.get("Processor") or ""
    return ", ".join(part for part in (shown(chips[-1]), name) if part)


def cores(host: Host) -> int:
    """How many cores are there, at least 1."""
    count = 0
    for part in host.line("/sys/devices/system/cpu/present").split(","):
        if found := _RANGE.match(part.strip()):
            count += max(0, int(found[2] or found[1]) - int(found[1])) + 1
    count = count or len(re.findall(r"^processor\s*:", host.text(CPUINFO), re.MULTILINE))
    return max(1, min(MOST_CORES, count))
