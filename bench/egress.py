"""All bytes to the cloud in a day with 20 visits and 3 cameras, against streaming the cameras at 2 Mbit/s.

Measured in the demo's building with the real detector: the ledger's bytes (both directions, TLS included) of each alert,
of a visit's closing, of connecting, and of each status summary. A day is then, by arithmetic,

    20 visits × (3 cameras × bytes of an alert + bytes of a close per alert) + statuses a day × bytes of a status + one hello

where each camera sees a person at each visit, and every alert carries a labelled photo.
"""

from __future__ import annotations

import time
from typing import Any

from agent.config import UplinkConfig
from bench.building import BenchBuilding, only_people, running
from bench.figure import Figure
from demo import phone, story

VISITS, CAMERAS, DAY = 20, 3, 86_400
STREAM = CAMERAS * 2_000_000 / 8 * DAY


def measure(*, quick: bool = False) -> list[Figure]:
    """The ratio of streamed bytes to the agents' bytes."""
    visits = 3 if quick else 10
    with running(scenes=only_people) as made:
        for _ in range(visits):
            arrival = story.join(made, phone.new_mac())
            story.settle(made, arrival)
        kinds = wait_for_statuses(made)
    per = {kind: round((t["up"] + t["down"]) / t["requests"]) for kind, t in kinds.items() if t["requests"]}
    alerts = kinds["alert"]["requests"]
    close = sum(kinds.get("close", {}).get(k, 0) for k in ("up", "down")) / alerts
    parts = {
        "alerts": VISITS * CAMERAS * per["alert"],
        "closes": round(VISITS * CAMERAS * close),
        "statuses": round(DAY / UplinkConfig().status_every * per.get("status", 0)),
        "hello": per.get("hello", 0),
    }
    total = sum(parts.values())
    details = {
        "visits": visits,
        "alerts": alerts,
        "bytes_each": per,
        "bytes_a_day": parts,
        "total": total,
        "streaming": STREAM,
    }
    return [
        Figure(
            name="egress",
            what="bytes to the cloud in a day, 20 visits, 3 cameras, against streaming at 2 Mbit/s: 1 in",
            figure=STREAM / total,
            goal=15_000.0,
            unit="",
            sense="at least",
            bound_by="the labelled photos: 19 of 20 bytes are alerts, the rest status summaries every 15 minutes",
            details=details,
        ),
    ]


def wait_for_statuses(made: BenchBuilding) -> dict[str, dict[str, int]]:
    """The ledger's sums, as soon as they include a status summary."""
    end = time.monotonic() + 120
    while True:
        sums: dict[str, Any] = {}
        for row in made.ask("gpu", "get", "/v1/egress")["rows"]:
            kind = sums.setdefault(row["kind"], {"requests": 0, "up": 0, "down": 0})
            kind["requests"] += 1
            kind["up"] += row["up"]
            kind["down"] += row["down"]
        if "status" in sums or time.monotonic() > end:
            return sums
        time.sleep(1.0)
