"""An idle agent with the demo's pipeline applied: memory with its children, CPU, and time to start.

One node has all roles: it reads a log, has a camera, runs the rescale program and is the mesh's operator. Memory is PSS;
no other agent runs that could share it. Idle is the state a minute after the last photo, when the WASM child has ended;
the details have the memory with that child. The agent is ready when its API answers.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil

from agent.executors import WORKER_REST
from bench.agents import ROOT, Agents, agents, cpu_seconds, family
from bench.figure import Figure, spread
from demo import phone
from demo.waiting import wait_for

DEADLINE = "2s"
"""The deadline of the detector's step: events that wait for the missing node must end before the agent is idle."""
LABELS = {"wifi-log": "true", "camera": "true"}
SETTLE = 15.0


def pss(pid: int) -> int:
    """Proportional set size of one process in bytes (proc_pid_smaps(5))."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


def pipeline(log: Path) -> str:
    """The demo's pipeline, with the detector on a missing node."""
    text = (ROOT / "examples/person-at-the-door.yaml").read_text()
    text = text.replace("../build/", f"{ROOT}/build/").replace("tail: auto", f"tail: {log}")
    return text.replace("docker: {image: edge/detector:1}", "process: {command: [/bin/cat]}").replace(
        "where: docker=true", f"where: node=gpu\n    deadline: {DEADLINE}"
    )


def memory_of(pid: int) -> dict[str, float]:
    """MB of an agent and of each of its children, by their command lines."""
    return {" ".join(p.cmdline()[1:4])[:60]: round(pss(p.pid) / 1e6, 1) for p in family(pid)}


def start(made: Agents) -> float:
    """Seconds from the start of the process until its API answers."""
    began = time.perf_counter()
    made.start("ap", labels=LABELS)
    return time.perf_counter() - began


def all_cpu(pid: int) -> float:
    """CPU seconds of the agent and its children so far."""
    return sum(cpu_seconds(p.pid) for p in family(pid))


def measure(*, quick: bool = False) -> list[Figure]:
    """Memory, CPU and start."""
    seconds = 10.0 if quick else 30.0
    with agents() as made:
        log = made.folder / "messages"
        log.write_text(phone.boot())
        start(made)
        made.ask("ap", "post", "/v1/cameras", {"name": "porch", "source": f"file:{ROOT / 'build/scenes/porch'}"})
        made.apply("ap", pipeline(log))
        phone.append(log, phone.joins(phone.new_mac()))
        wait_for("the line is read", lambda: made.status("ap"), 20)
        time.sleep(3)
        starts = []
        for _ in range(3 if quick else 7):
            made.stop("ap")
            starts.append(start(made))
        time.sleep(SETTLE)
        pid = made.children.all["ap"].process.pid
        warm = memory_of(pid)
        wait_for("the WASM child to rest", lambda: len(family(pid)) == 1 or None, WORKER_REST * 2)
        before, began = all_cpu(pid), time.monotonic()
        time.sleep(seconds)
        share = (all_cpu(pid) - before) / (time.monotonic() - began)
        memory = memory_of(pid)
        threads = psutil.Process(pid).num_threads()
    return [
        Figure(
            name="idle-memory",
            what="agent idle, no Docker engine: PSS with children, x86_64",
            figure=sum(memory.values()),
            goal=70.0,
            unit="MB",
            sense="at most",
            bound_by=(
                "by its memory maps, half is heap (Python's objects and code); zenoh's library is 13 MB, "
                "cryptography's with libcrypto 10, wasmtime's 5. A warm WASM child adds 14 MB, for a second interpreter"
            ),
            details={"MB": memory, "MB with a warm WASM child": warm, "threads": threads},
        ),
        Figure(
            name="idle-cpu",
            what="agent idle: CPU",
            figure=share * 100,
            goal=0.3,
            unit="%",
            sense="at most",
            bound_by=(
                "wake-ups, about one a second: by a trace of system calls, the first work after a sleep of a second takes "
                "1 to 3 ms, and the same work repeated at once 0.05 to 0.2 ms"
            ),
            details={"seconds": seconds},
        ),
        Figure(
            name="start",
            what="start to ready, with state, x86_64",
            figure=statistics.median(starts),
            goal=0.5,
            unit="s",
            sense="at most",
            bound_by="importing the modules, about 0.35 s on a quiet machine, then opening the mesh and the journal",
            details=spread(starts, 2),
        ),
    ]
