"""One arrival: a phone joins, all events end, and the results are collected."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.api import Client, path_of
from agent.errors import NotFound
from demo import phone
from demo.agents import CAMERAS, NODES, PIPELINE, Agents
from demo.waiting import wait_for

SETTLE = 120.0
"""Seconds until all events of an arrival must have ended."""
HEARD = 30.0
"""Seconds within which the filter must report the join."""
STREAM = 2_000_000 / 8
"""Bytes a second of a camera that streams at 2 Mbit/s, as cloud cameras do."""
HOPS = ("line", "wifi", "arrived", "photos", "small", "labels", "alert")
END_WORDS = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")


Alive = Callable[[], object] | None
"""Called repeatedly while waiting; it raises when a process has ended."""


class Arrival(msgspec.Struct):
    """A device that joined, and the results."""

    mac: str
    name: str = ""
    root: str = ""
    """Id of the event made from the access point's log line."""
    ends: dict[str, dict[str, int]] = {}
    """For each step, in order: the number of accepted events and of each end, summed over the nodes. An event that
    went to another node counts on both."""
    alerts: list[str] = []
    """Ids of its alerts in the sink."""
    traces: list[dict[str, Any]] = []
    sizes: list[dict[str, Any]] = []
    """For each photo: camera, and bytes before and after the rescale."""

    @property
    def arrived(self) -> bool:
        """True if the join was an arrival; the join of a present device is not."""
        return bool(self.ends.get("photos", {}).get("accepted"))

    @property
    def known(self) -> bool:
        """True if a known device arrived."""
        photos = self.ends.get("photos", {})
        return self.arrived and photos.get("skipped", 0) == photos["accepted"]


def join(agents: Agents, mac: str, name: str = "", alive: Alive = None) -> Arrival:
    """Write a join to the access point's log and wait until its agent reports it; raises DemoError."""
    before = set(_joins(agents, mac))
    phone.append(agents.log, phone.joins(mac, name))

    def look() -> str | None:
        return next((e for e in _joins(agents, mac) if e not in before), None)

    return Arrival(mac, name, wait_for(f"the access point's agent reports that {mac} joined", look, HEARD, alive))


def _joins(agents: Agents, mac: str) -> list[str]:
    """Ids of the joins of a device."""
    return [e["id"] for e in agents.events("ap", "wifi.client.joined") if e.get("data", {}).get("mac") == mac]


def settle(agents: Agents, arrival: Arrival, alive: Alive = None) -> None:
    """Wait until all events have ended, and collect the results; raises DemoError after SETTLE seconds."""
    quiet = 0

    def look() -> bool | None:
        nonlocal quiet
        quiet = quiet + 1 if is_quiet(agents.statuses()) else 0
        return quiet > 1 or None

    wait_for("all events have ended on all agents", look, SETTLE, alive)
    collect(agents, arrival)


def is_quiet(statuses: dict[str, dict[str, Any]]) -> bool:
    """True if no event is open on any node and no alert waits for the sink."""
    return len(statuses) == len(NODES) and all(
        not s["journal"]["open"] and not s["uplink"].get("waiting") for s in statuses.values()
    )


def collect(agents: Agents, arrival: Arrival) -> None:
    """Fill in ends, alerts, traces and sizes."""
    arrival.alerts = alerts_in_sink(agents.sink_data, arrival.root)
    with Client(agents.sockets["gpu"], timeout=20.0) as client:
        for ident in arrival.alerts or [arrival.root]:
            with contextlib.suppress(NotFound):
                arrival.traces.append(client.get(path_of("trace", ident)))
    arrival.ends = _ends(agents, arrival)
    arrival.sizes = _sizes(agents, arrival.root)


def _ends(agents: Agents, arrival: Arrival) -> dict[str, dict[str, int]]:
    steps = agents.ask("gpu", "get", path_of("pipelines", PIPELINE))["steps"]
    made: dict[str, dict[str, int]] = {s["step"]: {"accepted": 0} for s in steps if s["kind"] != "tail"}
    for branch in arrival.traces[0]["branches"] if arrival.traces else []:
        counts = made.setdefault(branch["step"], {"accepted": 0})
        counts["accepted"] += branch["count"]
        counts[branch["end"]] = counts.get(branch["end"], 0) + branch["count"]
    return made


def _sizes(agents: Agents, root: str) -> list[dict[str, Any]]:
    """Sizes of the photos before and after the rescale, from the events of the camera nodes."""
    seen = {
        e["id"]: e for name in CAMERAS for e in agents.events(name) if e.get("root") == root and e.get("data")
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


def egress(agents: Agents) -> dict[str, Any]:
    """Bytes on the wire that left the building so far, compared with streaming its cameras for the same time."""
    total = agents.ask("gpu", "get", "/v1/egress")["total"]
    seconds = time.monotonic() - agents.began
    streamed = round(STREAM * len(CAMERAS) * seconds)
    return {
        "up": total["up"],
        "down": total["down"],
        "requests": total["requests"],
        "streaming": streamed,
        "seconds": round(seconds, 1),
        "ratio": round(total["up"] / streamed, 6),
    }


def summary(agents: Agents, arrival: Arrival) -> dict[str, Any]:
    """An arrival as JSON."""
    return {
        "device": {"mac": arrival.mac, "name": arrival.name},
        "arrived": arrival.arrived,
        "known": arrival.known,
        "root": arrival.root,
        "alerts": arrival.alerts,
        "events": arrival.ends,
        "hops": [hops_of(t) for t in arrival.traces if arrival.alerts],
        "rescale": arrival.sizes,
        "egress": egress(agents),
    }


def faults(arrival: Arrival) -> list[str]:
    """The differences between the results and those of an unknown device's arrival."""
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
