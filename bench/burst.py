"""Memory of an agent before, during and after 30,000 joins of distinct devices at once.

The lines are written to the agent's log in one call. One agent gives the events to a program: after the burst its rows are on the
disk only, and `journal.in_memory` of its status is 0 again. A second agent has a presence step instead, which remembers each device.
Memory is the agent's resident set, without its children: it does not depend on the other agents of the machine.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.agents import ROOT, Agents, agents
from bench.figure import Figure
from demo import phone
from demo.waiting import wait_for

JOINS = 30_000
PROGRAM = "process: {command: COMMAND}"
PRESENCE = "presence: {away: 30m}"
PIPELINE = """\
version: 1
name: bench
steps:
  wifi:
    tail: LOG
    where: wifi-log=true
    wasm: {module: ROOT/build/filters/wifi-join.wasm}
    emit: [wifi.client.joined]
  seen:
    after: wifi
    where: wifi-log=true
    deadline: 1h
    STEP
"""
ANSWER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "events": []}), flush=True)
"""
MIB = 1 << 20
AFTERWARDS = (
    "by the allocators' statistics: eight pieces of 1 MiB of Python's allocator stay, because timers, futures and counters of now "
    "took places of the burst in them; the C library keeps 1 to 4 MiB, of it 1 MiB for the table of the rows that are on the disk"
)
PEAK = "9,000 open events, 0.6 KiB each besides their encoded form, and what SQLite and the writes under way take"
DEVICE = "a record takes 0.3 KiB; the rest is what a burst without presence leaves, too"
STEADY, WITHIN = 15, 0.005
"""Memory has settled when so many looks, a second apart, differ by no more than that part."""
LONGEST = 280.0


class Memory(NamedTuple):
    """Resident bytes before the burst, at the peak, and afterwards; seconds until the last event had ended."""

    before: int
    peak: int
    after: int
    seconds: float

    def details(self) -> dict[str, float]:
        """The same in MiB."""
        names = {"before": self.before, "peak": self.peak, "after": self.after}
        return {k: round(v / MIB, 1) for k, v in names.items()} | {"seconds": round(self.seconds, 1)}


def join_lines(first: int, count: int) -> str:
    """Join lines of so many devices, from the device of this number."""
    stamp = time.strftime("%a %b %e %H:%M:%S %Y")
    macs = (f"a4:83:e7:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}" for n in range(first, first + count))
    return "".join(f"{stamp} daemon.notice hostapd: phy1-ap0: AP-STA-CONNECTED {m} auth_alg=sae\n" for m in macs)


def memory_of(pid: int) -> int:
    """Resident memory of the agent, without its children: theirs does not grow, and a compiler's child ends meanwhile."""
    return int(psutil.Process(pid).memory_info().rss)


def peak_of(pid: int) -> int:
    """The most that it ever was: VmHWM in proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def settled(pid: int) -> int:
    """The agent's memory once it stays the same."""
    seen: list[int] = []

    def look() -> int | None:
        seen.append(memory_of(pid))
        last = seen[-STEADY:]
        if len(last) == STEADY and max(last) - min(last) <= WITHIN * max(last):
            return last[-1]
        time.sleep(1.0)
        return None

    return wait_for("the memory to settle", look, LONGEST)


def burst(made: Agents, step: str, joins: int) -> Memory:
    """One agent, and the burst."""
    log = made.folder / "messages"
    log.write_text(phone.boot())
    pid = made.start("ap", labels={"wifi-log": "true"})
    text = PIPELINE.replace("STEP", step).replace("COMMAND", json.dumps([sys.executable, "-c", ANSWER]))
    made.apply("ap", text.replace("LOG", str(log)).replace("ROOT", str(ROOT)))

    def journal() -> dict[str, Any]:
        found: dict[str, Any] = (made.status("ap") or {})["journal"]
        return found

    def ended(count: int) -> bool | None:
        found = journal()
        return (found["accepted"] >= count and not found["open"]) or None

    phone.append(log, join_lines(0, 1))
    wait_for("the first join", lambda: ended(1), 30.0, made.children.check)
    before = settled(pid)
    began = time.monotonic()
    phone.append(log, join_lines(1, joins))
    wait_for("all joins", lambda: ended(joins + 1), LONGEST, made.children.check)
    seconds = time.monotonic() - began
    wait_for(
        "the rows to leave the memory", lambda: not journal().get("in_memory") or None, LONGEST, made.children.check
    )
    after = settled(pid)
    return Memory(before, peak_of(pid), after, seconds)


def measure(*, quick: bool = False) -> list[Figure]:
    """Memory afterwards and at the peak, and the cost of a device's record."""
    joins = JOINS // 3 if quick else JOINS
    with agents() as made:
        rows = burst(made, PROGRAM, joins)
    with agents() as made:
        devices = burst(made, PRESENCE, joins)
    details = {"joins": joins, "MiB": rows.details()}
    return [
        Figure(
            name="burst",
            what=f"{joins:,} joins at once: the agent's memory afterwards",
            figure=rows.after / rows.before,
            goal=1.15,
            unit="×",
            sense="at most",
            bound_by=AFTERWARDS,
            details=details,
        ),
        Figure(
            name="burst-peak",
            what="the same, at the peak",
            figure=rows.peak / rows.before,
            goal=1.5,
            unit="×",
            sense="at most",
            bound_by=PEAK,
            details=details,
        ),
        Figure(
            name="burst-device",
            what="the same with a presence step: growth for each device that is remembered",
            figure=max(0, devices.after - devices.before) / joins,
            goal=1000.0,
            unit="bytes",
            sense="at most",
            bound_by=DEVICE,
            details={"joins": joins, "MiB": devices.details()},
        ),
    ]
