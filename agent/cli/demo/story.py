"""One arrival: a phone joins, everything settles, and what came of it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec

from agent.cli.client import Client, path_of
from agent.cli.demo import phone
from agent.cli.demo.building import CAMERAS, NODES, PIPELINE, Building
from agent.errors import EdgeError, NotFound, Unreachable

SETTLE = 120.0
"""Seconds until an arrival must have settled everywhere."""
SEEN = 30.0
"""Seconds until the join must have come out of the filter."""
STREAM = 2_000_000 / 8
"""Bytes a second of a camera that is streamed at 2 Mbit/s, as cloud cameras are."""
HOPS = ("line", "wifi", "arrived", "photos", "small", "labels", "alert")
END_WORDS = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")


class Arrival(msgspec.Struct):
    """A device that joined, and what followed."""

    mac: str
    name: str
    root: str = ""
    arrived: bool = False
    """Whether it was an arrival: a device that is here already is none."""
    settled: bool = False
    ends: dict[str, dict[str, int]] = {}
    """For each step of the pipeline, in order: how many events it took, and how they ended, over all nodes."""
    alerts: list[str] = []
    """Ids of its alerts in the sink."""
    traces: list[dict[str, Any]] = []
    sizes: list[dict[str, Any]] = []
    """For each photo: camera, and bytes before and after the rescale."""


def join(building: Building, mac: str, name: str = "") -> Arrival:
    """The access point writes that a device joined."""
    phone.append(building.log, phone.joins(mac, name))
    return Arrival(mac, name)


def settle(building: Building, arrival: Arrival, alive: Any = lambda: None) -> None:
    """Wait until all that followed has ended, and collect it; `alive` is called often and may raise.

    Raises Unreachable when that takes too long.
    """
    end = time.monotonic() + SEEN
    while not (root := _root_of(building, arrival.mac)):
        _in_time(end, f"the access point's agent did not hear that {arrival.mac} joined", alive)
    arrival.root = root
    end = time.monotonic() + SETTLE
    quiet = 0
    while quiet < 2:
        _in_time(end, "the events have not all ended", alive)
        quiet = quiet + 1 if is_quiet(building.statuses()) else 0
    arrival.settled = True
    collect(building, arrival)


def is_quiet(statuses: dict[str, dict[str, Any]]) -> bool:
    """Whether nothing is open on any node and nothing waits for the sink."""
    return len(statuses) == len(NODES) and all(
        not s["journal"]["open"] and not s["uplink"].get("waiting") for s in statuses.values()
    )


def _in_time(end: float, what: str, alive: Any) -> None:
    alive()
    if time.monotonic() > end:
        raise Unreachable(f"{what} in time", hint="edge-agent status and the agents' logs may say why", code="demo")
    time.sleep(0.1)


def _root_of(building: Building, mac: str) -> str:
    """The id of a device's newest join."""
    joined = [e for e in building.events("ap", "wifi.client.joined") if e.get("data", {}).get("mac") == mac]
    return str(joined[-1].get("root") or joined[-1]["id"]) if joined else ""


def collect(building: Building, arrival: Arrival) -> None:
    """Fill in ends, alerts, traces and sizes."""
    arrival.alerts = alerts_in_sink(building.sink_data, arrival.root)
    with Client(building.sockets["gpu"], timeout=20.0) as client:
        for ident in arrival.alerts or [arrival.root]:
            with contextlib.suppress(NotFound):
                arrival.traces.append(client.get(path_of("trace", ident)))
    arrival.ends = _ends(building, arrival)
    arrival.arrived = any(h["step"] == "arrived" for t in arrival.traces for h in t["hops"]) or bool(
        arrival.ends.get("photos", {}).get("accepted")
    )
    arrival.sizes = _sizes(building, arrival.root)


def _ends(building: Building, arrival: Arrival) -> dict[str, dict[str, int]]:
    steps = [s["step"] for s in building.ask("gpu", "get", path_of("pipelines", PIPELINE))["steps"]]
    made: dict[str, dict[str, int]] = {s: {"accepted": 0} for s in steps}
    for branch in arrival.traces[0]["branches"] if arrival.traces else []:
        counts = made.setdefault(branch["step"], {"accepted": 0})
        counts["accepted"] += branch["count"]
        counts[branch["end"]] = counts.get(branch["end"], 0) + branch["count"]
    return made


def _sizes(building: Building, root: str) -> list[dict[str, Any]]:
    """Photos and their rescaled versions, as the nodes that made them know."""
    seen = {
        e["id"]: e for name in CAMERAS for e in building.events(name) if e.get("root") == root and e.get("data")
    }  # fmt: skip
    made = []
    for event in seen.values():
        parent = seen.get(event.get("parent", ""))
        if event["type"] == "image.rescaled" and parent is not None:
            before, after = parent["data"]["blobs"][0], event["data"]["blobs"][0]
            made.append({"camera": event["data"].get("camera", ""), "before": before["size"], "after": after["size"]})
    return sorted(made, key=lambda s: (s["camera"], s["before"]))


def alerts_in_sink(data: Path, root: str = "") -> list[str]:
    """Ids of the alerts (of one root) that the sink has stored, oldest first."""
    file = data / "sink.db"
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as db:
        rows = db.execute("SELECT event_id FROM alerts WHERE ? IN ('', root) ORDER BY seq", (root,)).fetchall()
    return [str(row[0]) for row in rows]


def hops_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """A trace's hops with step, node and times in ms."""
    return [
        {"step": h["step"], "node": h["node"], "at_ms": round(h["at_ms"], 3), "run_ms": round(h.get("run_ms", 0.0), 3)}
        for h in trace["hops"]
    ]


def egress(building: Building) -> dict[str, Any]:
    """What left the building so far, in bytes on the wire, against streaming its cameras for as long."""
    total = building.ask("gpu", "get", "/v1/egress")["total"]
    seconds = time.monotonic() - building.began
    streamed = round(STREAM * len(CAMERAS) * seconds)
    return {
        "up": total["up"],
        "down": total["down"],
        "requests": total["requests"],
        "streaming": streamed,
        "seconds": round(seconds, 1),
        "ratio": round(total["up"] / streamed, 6),
    }


def summary(building: Building, arrival: Arrival) -> dict[str, Any]:
    """What `--once --json` prints."""
    return {
        "ok": not faults(arrival),
        "faults": faults(arrival),
        "device": {"mac": arrival.mac, "name": arrival.name},
        "root": arrival.root,
        "alerts": arrival.alerts,
        "events": arrival.ends,
        "hops": [hops_of(t) for t in arrival.traces if arrival.alerts],
        "rescale": arrival.sizes,
        "egress": egress(building),
        "docker": building.docker,
        "detector": "container" if building.docker else "process",
        "seconds": round(time.monotonic() - building.began, 1),
    }


def faults(arrival: Arrival) -> list[str]:
    """What is not as an unknown device's arrival must be."""
    found = []
    if not arrival.alerts:
        found.append("no alert reached the sink")
    for trace in arrival.traces if arrival.alerts else []:
        if lacking := [h for h in HOPS if h not in {x["step"] for x in trace["hops"]}]:
            found.append(f"the trace of {trace['id']} lacks {', '.join(lacking)}")
    for step, counts in arrival.ends.items():
        found += [f"{counts[end]} {end} at {step}" for end in ("failed", "expired", "lost") if counts.get(end)]
        if counts["accepted"] != sum(counts.get(e, 0) for e in END_WORDS):
            found.append(f"the ends at {step} do not add up: {counts}")
    return found


def said(error: EdgeError) -> str:
    """An error in one line."""
    return f"{error.message} [{error.code}]"
