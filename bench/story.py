"""From the log line to the alert in the sink's database: two cameras, four agents and a sink, all real processes.

First without inference and rescale: one shot per camera, photos as large as the rescale step makes them, and a labels
step that answers at once and passes the photo on.
The time starts just before the line is written and ends when an observer sees the row in the sink's database. The
observer polls every millisecond, so it adds up to 1 ms. Then the story as in the demo, with the times of its hops.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from typing import Any

from agent.api import path_of
from bench.building import BenchBuilding, Stored, join, only_people, running, small_people
from bench.figure import Figure, percentile, spread
from demo import story
from demo.agents import CAMERAS
from demo.waiting import wait_for

INSTANT = """
import json, sys
for line in sys.stdin:
    event = json.loads(line)
    data = event["data"] | {"labels": [{"name": "person", "score": 0.9, "box": [0.1, 0.1, 0.5, 0.8]}]}
    data["blobs"] = [{k: b[k] for k in ("name", "cid", "type", "size")} for b in data["blobs"]]
    print(json.dumps({"id": event["id"], "events": [{"type": "image.labels", "data": data}]}), flush=True)
"""
PAUSE = 0.15


def instant(text: str) -> str:
    """The pipeline with one shot, no rescale, and labels from a program that answers at once."""
    lines: list[str] = []
    skipping = False
    for line in text.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            skipping = line.startswith("  small:")
        if not skipping:
            lines.append(line)
    made = "\n".join(lines).replace("after: small", "after: photos").replace("shots: 2, every: 2s", "shots: 1")
    begin = made.index("process: {command:")
    end = made.index("\n", begin)
    return made[:begin] + f"process: {{command: {json.dumps([sys.executable, '-c', INSTANT])}}}" + made[end:] + "\n"


def arrivals(made: BenchBuilding, count: int) -> tuple[list[float], list[float], list[str]]:
    """Milliseconds from the line to each alert and to the last alert of each arrival; ids of the last alerts."""
    each: list[float] = []
    last: list[float] = []
    idents: list[str] = []
    with Stored(made) as stored:
        for _ in range(count):
            known = set(stored.at)
            began, _wall = join(made)
            wanted = len(known) + len(CAMERAS)
            wait_for("both alerts", partial(reached, stored, wanted), 60, made.children.check)
            new = {i: at for i, (_root, at) in stored.at.items() if i not in known}
            each += [(at - began) * 1e3 for at in new.values()]
            last.append((max(new.values()) - began) * 1e3)
            idents.append(max(new, key=new.__getitem__))
            time.sleep(PAUSE)
    return each, last, idents


def reached(stored: Stored, count: int) -> bool | None:
    """True as soon as this number of alerts was seen."""
    return len(stored.at) >= count or None


def hops(made: BenchBuilding, idents: list[str]) -> dict[str, float]:
    """Medians of the times at which each hop of these alerts was done, in ms since the line."""
    times: dict[str, list[float]] = {}
    for ident in idents:
        for hop in story.hops_of(made.ask("gpu", "get", path_of("trace", ident))):
            times.setdefault(hop["step"], []).append(hop["at_ms"])
    return {step: round(statistics.median(t), 1) for step, t in times.items()}


def measure(*, quick: bool = False) -> list[Figure]:
    """Both stories."""
    with running(instant, small_people) as made:
        arrivals(made, 5)
        each, last, idents = arrivals(made, 20 if quick else 100)
        quickly: dict[str, Any] = {
            "per_alert_ms": spread(each),
            "both_alerts_ms": spread(last),
            "hops_ms": hops(made, idents[-20:]),
        }
    with running(lambda text: text.replace("shots: 2, every: 2s", "shots: 1"), only_people) as made:
        arrivals(made, 2)
        whole, _, idents = arrivals(made, 5 if quick else 15)
        wholly = {"per_alert_ms": spread(whole), "hops_ms": hops(made, idents)}
    details = {"without inference and rescale": quickly, "whole story, one shot": wholly}
    return [
        Figure(
            name="story-p50",
            what="log line → alert stored, two cameras, four agents, without inference and rescale (photos 640 wide), p50",
            figure=spread(each)["p50"],
            goal=50.0,
            unit="ms",
            sense="at most",
            bound_by=(
                "two cores: an arrival takes about 120 ms of CPU in five processes, including its reports. By timestamps in "
                "each process: 18 ms until a camera is asked (8 of them presence and its witnesses), 9 until the photo is "
                "on the detector's node, 5 in the program and its folders, 9 for the cooldown's decider and its witnesses, "
                "5 to the spool, 15 to 20 in the sink, mostly Python in one process for two alerts at a time"
            ),
            details=details,
        ),
        Figure(
            name="story-p99",
            what="the same, p99",
            figure=percentile(each, 99),
            goal=150.0,
            unit="ms",
            sense="at most",
            bound_by="the same, and an alert that waits in the sink for the other alert and for a core",
            details=details,
        ),
    ]
