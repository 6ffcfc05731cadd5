"""Twenty arrivals within ten seconds and four cameras on two nodes: is each first photo looked at before any second one?

A labels step that takes a fixed time for each photo stands for the model, so that photos wait: 160 of them, 0.1 s each. It notes
when it begins each photo. A second photo is early where a first photo waits meanwhile: one that was taken SETTLED seconds before
and begins later.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from bench.agents import ROOT, Agents, agents
from bench.building import small_people
from bench.figure import Figure, percentile
from demo import phone
from demo.waiting import wait_for

ARRIVALS, WITHIN, SHOTS = 20, 10.0, 2
NODES, CAMERAS = ("porch", "garage"), ("left", "right")
SETTLED = 1.0
"""Seconds that a photo may be on its way to the labels step: a photo that has begun is not interrupted."""
LABELS = """
import json, sys, time
out = open(sys.argv[1], "a")
for line in sys.stdin:
    event = json.loads(line)
    data = event["data"]
    print(json.dumps([time.time(), event["time"], event["root"], data["camera"], data["shot"]]), file=out, flush=True)
    time.sleep(0.1)
    print(json.dumps({"id": event["id"], "events": []}), flush=True)
"""
PIPELINE = """\
version: 1
name: bench
steps:
  wifi:
    tail: {log}
    where: node=ap
    wasm: {{module: {module}}}
    emit: [wifi.client.joined]
  arrived: {{after: wifi, presence: {{away: 30m, learn: 0s}}}}
  photos: {{after: arrived, where: camera=true, camera: {{shots: 2, every: 2s}}, deadline: 60s}}
  labels: {{after: photos, where: node=gpu, process: {{command: {command}}}}}
"""


class Look(NamedTuple):
    """The labels step began a photo: wall-clock times when it began and when the photo was taken."""

    began: float
    taken: float
    root: str
    camera: str
    shot: int


def looks(file: Path) -> list[Look]:
    """The photos so far, as they were begun."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [
        Look(began, datetime.fromisoformat(taken).timestamp(), root, camera, shot)
        for began, taken, root, camera, shot in map(json.loads, lines)
    ]


def early(seen: list[Look]) -> list[Look]:
    """The second photos that were begun while a first photo waited."""
    firsts = [look for look in seen if look.shot == 0]
    return [
        second for second in seen if second.shot and any(f.taken + SETTLED < second.began < f.began for f in firsts)
    ]


def _start(made: Agents) -> tuple[Path, Path]:
    """The log and the notes of the labels step, of four agents that run the pipeline."""
    log, notes = made.folder / "messages", made.folder / "looks"
    log.write_text("")
    small_people(made.folder / "scenes")
    picture = next((made.folder / "scenes").glob("*/*.jpg"))
    made.start("ap")
    made.start("gpu")
    for node in NODES:
        made.start(node, labels={"camera": "true"})
        for camera in CAMERAS:
            file = made.folder / f"{node}-{camera}.jpg"
            shutil.copy(picture, file)
            made.ask(node, "post", "/v1/cameras", {"name": camera, "source": f"file:{file}"})
    command = json.dumps([sys.executable, "-c", LABELS, str(notes)])
    made.apply("ap", PIPELINE.format(log=log, module=ROOT / "build/filters/wifi-join.wasm", command=command))
    return log, notes


def _round(made: Agents, log: Path, notes: Path, arrivals: int) -> tuple[list[Look], list[float]]:
    """The photos of this many arrivals, and for each the seconds from its line to its first labelled photo."""
    before = len(looks(notes))
    numbers = count()
    lines: list[float] = []
    began = time.monotonic()
    while len(lines) < arrivals:
        due = began + next(numbers) * WITHIN / ARRIVALS
        time.sleep(max(0.0, due - time.monotonic()))
        lines.append(time.time())
        phone.append(log, phone.joins(phone.new_mac()))
    wanted = before + arrivals * len(NODES) * len(CAMERAS) * SHOTS
    wait_for("all photos", lambda: len(looks(notes)) >= wanted or None, 120.0, made.children.check)
    seen = looks(notes)[before:]
    first: dict[str, float] = {}
    for look in seen:
        first.setdefault(look.root, look.began)
    return seen, [at - line for at, line in zip(sorted(first.values()), lines, strict=True)]


def measure(*, quick: bool = False) -> list[Figure]:
    """The share of second photos that wait for the first photos."""
    with agents() as made:
        log, notes = _start(made)
        _round(made, log, notes, 1)
        seen, waits = _round(made, log, notes, ARRIVALS // 4 if quick else ARRIVALS)
    seconds, too_early = [look for look in seen if look.shot], early(seen)
    first_waits = [look.began - look.taken for look in seen if not look.shot]
    details: dict[str, Any] = {
        "first labelled photo of an arrival, s": {
            "p50": round(statistics.median(waits), 2),
            "p99": round(percentile(waits, 99), 2),
        },
        "wait of first photos, s": {
            "p50": round(statistics.median(first_waits), 2),
            "most": round(max(first_waits), 2),
        },
        "wait of second photos, s": {"most": round(max(look.began - look.taken for look in seconds), 2)},
        "second photos before a waiting first one": len(too_early),
    }
    return [
        Figure(
            name="first-photos",
            what=f"{ARRIVALS} arrivals in {WITHIN:.0f} s, four cameras: second photos after all first photos",
            figure=1 - len(too_early) / len(seconds),
            goal=1.0,
            unit="×",
            sense="at least",
            bound_by="the order of the queues; the waits are those of 160 photos of 0.1 s each",
            details=details,
        )
    ]
