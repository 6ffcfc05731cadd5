"""Measurements of an agent on a machine, by shell commands that busybox has too."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from dataclasses import dataclass

from hil.standins import Failed, Machine

TREE = "/edge-agent/"
"""A part of the path of each program of the frozen tree, its workers included."""
_PIDS = f"""
pids=
for exe in /proc/[0-9]*/exe; do
    case $(readlink "$exe" 2>/dev/null) in *{TREE}*) p=${{exe%/exe}}; pids="$pids ${{p#/proc/}}" ;; esac
done
"""
_MEMORY = """
for p in $pids; do
    file=/proc/$p/smaps_rollup
    [ -r $file ] || file=/proc/$p/smaps
    awk -v p="$p" '/^Pss:/ {s += $2} /^Rss:/ {r += $2} END {print p, s + 0, r + 0}' $file
done
"""
_CPU = """
for p in $pids; do sed 's/.*) //' /proc/$p/stat | cut -d ' ' -f 12,13; done | awk '{s += $1 + $2} END {print s + 0}'
cut -d ' ' -f 1 /proc/uptime
"""
LOOP = """i=0
while [ $i -lt 100000 ]; do i=$((i + 1)); done
"""
"""The fixed loop of the calibration: the shell's own work, no files and no other programs."""
_LOOP_TIME = f"""began=$(cut -d ' ' -f 1 /proc/uptime)
{LOOP}
echo "$began $(cut -d ' ' -f 1 /proc/uptime)"
"""
ENOUGH = 10.0
"""Seconds of the fixed loop on a machine, after which it is not run again."""
TICKS = 100.0
"""Clock ticks of a second in /proc/PID/stat, on all architectures of Linux that matter here (proc(5), sysconf(_SC_CLK_TCK))."""


@dataclass(frozen=True)
class Memory:
    """Memory of the agent and its children: proportional and resident set size in MB (10^6 bytes), and how many processes."""

    pss: float
    rss: float
    processes: int


def memory(machine: Machine) -> Memory:
    """The memory that the agent and all its children take now; raises Failed where no agent runs."""
    lines = machine.run(_PIDS + _MEMORY).text().splitlines()
    found = [tuple(map(int, line.split())) for line in lines if line.strip()]
    if not found:
        raise Failed("no agent runs on the machine")
    return Memory(
        sum(f[1] for f in found) * 1024 / 1e6, sum(f[2] for f in found) * 1024 / 1e6, sum(1 for f in found if f[1] > 0)
    )


def lowest_memory(machine: Machine, samples: int = 5, every: float = 2.0) -> Memory:
    """The least memory of several samples: at rest, without what a request of the moment takes."""
    found = [memory(machine)]
    for _ in range(samples - 1):
        time.sleep(every)
        found.append(memory(machine))
    return min(found, key=lambda m: m.pss)


@dataclass(frozen=True)
class Used:
    """Processor seconds that the agent and its children have used, at a time of the machine's own clock."""

    seconds: float
    at: float

    def percent(self, before: Used) -> float:
        """Percent of one processor since `before`."""
        return 100.0 * (self.seconds - before.seconds) / (self.at - before.at)


def used(machine: Machine) -> Used:
    """The processor time of the agent and its children; it asks the agent nothing."""
    ticks, uptime = machine.run(_PIDS + _CPU).text().split()
    return Used(float(ticks) / TICKS, float(uptime))


def end_agent(machine: Machine) -> None:
    """SIGTERM to the agent's own processes; the system's service starts it again."""
    machine.run(f'{_PIDS}\n[ -z "$pids" ] || kill $pids').text()


def disk_used(machine: Machine, *folders: str) -> float:
    """MB (10^6 bytes) that existing folders take on the disk."""
    words = " ".join(map(shlex.quote, folders))
    lines = machine.run(f"for f in {words}; do [ ! -e $f ] || du -sk $f; done").text().splitlines()
    return sum(int(line.split()[0]) for line in lines) * 1024 / 1e6


def loop_seconds(machine: Machine) -> float:
    """Seconds that the fixed loop takes on the machine, the least of three, or of fewer where it is slow."""
    shell = "sh" if machine.run("busybox true").code else "busybox sh"
    times: list[float] = []
    while len(times) < 3 and sum(times) < ENOUGH:
        began, ended = machine.run(f"{shell} -c {shlex.quote(_LOOP_TIME)}", timeout=300.0).text().split()
        times.append(float(ended) - float(began))
    return min(times)


def loop_seconds_here() -> float:
    """Seconds that the fixed loop takes in this machine's busybox, the least of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run(["busybox", "sh", "-c", LOOP], check=True)
        times.append(time.monotonic() - began)
    return min(times)


def uptime(machine: Machine) -> float:
    """Seconds since the machine's power-on."""
    return float(machine.run("cut -d ' ' -f 1 /proc/uptime").text())


def command_seconds(machine: Machine, command: str) -> float:
    """Seconds that a command takes on the machine, by its own clock."""
    line = f"began=$(cut -d ' ' -f 1 /proc/uptime); {command} >/dev/null 2>&1 || exit; echo $began $(cut -d ' ' -f 1 /proc/uptime)"
    began, ended = machine.run(line, timeout=120.0).text().split()
    return float(ended) - float(began)


def files(machine: Machine) -> set[str]:
    """All files, folders and links of the machine's own file systems, with modes, owners and sizes of plain files.

    Left out is what a system changes by itself: logs, caches, and what lies in RAM.
    """
    left_out = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/lib/dhcp", "/var/lib/systemd", "/var/log")
    paths = " -o ".join(f"-path {folder}" for folder in left_out)
    show = "while IFS= read -r f; do stat -c '%n %f %u %g' \"$f\"; done"
    line = f"find / -xdev \\( {paths} \\) -prune -o -print | {show}"
    return set(machine.run(line, timeout=300.0).text().splitlines())


def linux(machine: Machine) -> str:
    """The kernel and the processor of the machine, in a few words."""
    kernel = machine.run("uname -srm").text().strip()
    memory_kb = re.search(r"MemTotal:\s+(\d+)", machine.run("cat /proc/meminfo").text())
    return f"{kernel}, {int(memory_kb[1]) // 1000 if memory_kb else '?'} MB"
