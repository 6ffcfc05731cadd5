"""Incidents as people read them: turns rows of the store into plain values that a page or a message prints."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from agent.model.event import check_depth
from cloud_sink.store.models import Alert, Building, Photo

MAX_INDENTED = 256 * 1024
"""Events that are longer than this when indented, or nested deeper than ingest allows, are shown as they came.

Indenting can make 110 MB of 62 kB.
"""


class Box(msgspec.Struct):
    """A label's box in the photo's own pixels, and the place where its name is drawn."""

    text: str
    x: float
    y: float
    width: float
    height: float
    tag_x: float
    tag_y: float
    tag_width: float
    tone: int


class Picture(msgspec.Struct):
    """A photo with its boxes; `unit` is the height of a line of text in the photo's pixels."""

    url: str
    width: int
    height: int
    unit: float
    camera: str
    taken: str
    alt: str
    boxes: list[Box]


class Bar(msgspec.Struct):
    """One hop of the trace: times in ms, and its bar in percent of the whole."""

    step: str
    meaning: str
    node: str
    at_ms: float
    run_ms: float
    left: float
    width: float


class Trace(msgspec.Struct):
    """A trace as a timeline."""

    camera: str
    bars: list[Bar]
    total_ms: float
    longest: str


class Incident(msgspec.Struct):
    """Alerts that belong together, as one card."""

    mesh: str
    root: str
    newest: int
    building: str
    day: str
    day_name: str
    time: str
    stamp: str
    title: str
    who: str
    detail: str
    known: bool
    chips: list[str]
    pictures: list[Picture]
    traces: list[Trace]
    total_ms: float
    size: int
    alerts: list[dict[str, Any]]
    more: int = 0
    """Number of the incident's alerts besides `alerts`."""

    @property
    def url(self) -> str:
        """Its own page."""
        return f"/incidents/{self.mesh}/{self.root}"


_NAMED = 5
"""Most cameras that a title names."""

_MEANING = {
    "line": "log line read",
    "wifi": "filter found a device joining",
    "arrived": "device counted as an arrival",
    "photos": "photo taken",
    "small": "photo rescaled",
    "labels": "photo labelled",
    "alert": "alert left for the sink",
}


def incident_of(alerts: Sequence[Alert], building: str, total: int = 0, size: int = 0) -> Incident:
    """The card of an incident; `alerts` is not empty. If `alerts` is only a part, `total` and `size` are the number and
    the bytes of all alerts.
    """
    first = min(alerts, key=lambda a: a.seq)
    when = _when(first)
    labels = _merged_labels(alerts)
    cameras = list(dict.fromkeys(a.camera for a in alerts if a.camera))
    who, detail, known, chips = _device(first, when)
    traces = [t for t in (_trace(a) for a in alerts) if t.bars]
    return Incident(
        mesh=first.mesh,
        root=first.root,
        newest=max(a.seq for a in alerts),
        building=building,
        day=when.strftime("%Y-%m-%d"),
        day_name=day_name(when),
        time=when.strftime("%H:%M:%S"),
        stamp=when.isoformat(),
        title=_title(labels, cameras),
        who=who,
        detail=detail,
        known=known,
        chips=chips,
        pictures=[picture for a in alerts for picture in _pictures(a)],
        traces=traces,
        total_ms=min((t.total_ms for t in traces), default=0.0),
        size=size or sum(a.size for a in alerts),
        alerts=[_raw(a) for a in alerts],
        more=max(0, total - len(alerts)),
    )


def day_name(when: datetime) -> str:
    """Today, Yesterday, or the date."""
    days = (datetime.now(when.tzinfo).date() - when.date()).days
    date = f"{when:%A} {when.day} {when:%B}" + ("" if days < 300 else f" {when.year}")
    return {0: "Today", 1: "Yesterday"}.get(days, date)


def milliseconds(value: float) -> str:
    """A duration for people."""
    if value >= 60_000:
        return f"{value / 60_000:.1f} min"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    if value < 0.05:
        return "0 ms"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def size(value: int) -> str:
    """A number of bytes for people."""
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB" if value >= 1000 else f"{value} bytes"


def ago(ms: int, now: int) -> str:
    """The time between `ms` and `now`, for people."""
    seconds = max(0, (now - ms) // 1000)
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            n = seconds // unit
            return f"{n} {name}{'s' if n != 1 else ''} ago"
    return "just now"


def health_of(building: Building, now: int) -> dict[str, Any]:
    """A building's state: `level` is ok, warning, error or silent."""
    levels = [str(w.get("severity", "warning")) for w in building.warnings]
    level = "error" if "error" in levels else "warning" if levels else "ok"
    if building.received and now - building.received > building.silent_after:
        level = "silent"
    nodes = building.nodes
    alive = sum(_alive(n) for n in nodes)
    return {
        "name": building.name,
        "mesh": building.mesh,
        "level": level if building.received else "unknown",
        "alive": alive,
        "total": len(nodes),
        "warnings": building.warnings,
        "nodes": [_node(n) for n in nodes],
        "heard": ago(max(building.received, building.seen), now),
        "summary": bool(building.received),
    }


def _alive(node: dict[str, Any]) -> bool:
    return str(node.get("alive", node.get("state", "alive"))).lower() in (
        "true",
        "alive",
        "yes",
        "1",
        "ok",
        "online",
        "live",
    )


def _node(node: dict[str, Any]) -> dict[str, Any]:
    hidden = ("name", "id", "alive", "state")
    facts = [(k, str(v)) for k, v in node.items() if k not in hidden and v not in ("", None)]
    return {"name": str(node.get("name", node.get("id", "?"))), "alive": _alive(node), "facts": facts}


def _when(alert: Alert) -> datetime:
    """The event's own time if it can be read, else the time of arrival; in the sink's time zone."""
    try:
        return datetime.fromisoformat(str(alert.event.get("time", ""))).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(alert.received / 1000).astimezone()


def _labels(alert: Alert) -> list[tuple[str, float, list[float]]]:
    """(name, score, box) of the labels that are well-formed, best first."""
    found: list[tuple[str, float, list[float]]] = []
    raw = alert.event.get("data", {}).get("labels", [])
    for label in raw if isinstance(raw, list) else []:
        if not isinstance(label, dict) or not isinstance(label.get("name"), str):
            continue
        score, box = label.get("score"), label.get("box")
        good = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
        numbers = [float(v) for v in box] if good and isinstance(box, list) else []
        found.append((label["name"][:40], float(score) if isinstance(score, int | float) else 0.0, numbers))
    return sorted(found, key=lambda f: -f[1])[:50]


def _merged_labels(alerts: Sequence[Alert]) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    for name, score, _ in (label for a in alerts for label in _labels(a)):
        best[name] = max(score, best.get(name, 0.0))
    return sorted(best.items(), key=lambda b: -b[1])


def _title(labels: list[tuple[str, float]], cameras: list[str]) -> str:
    what = labels[0][0].capitalize() if labels else "Alert"
    return f"{what} at {_and(cameras)}" if cameras else what


def _and(names: list[str]) -> str:
    if len(names) > _NAMED:
        return f"{', '.join(names[: _NAMED - 1])} and more cameras"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _device(alert: Alert, when: datetime) -> tuple[str, str, bool, list[str]]:
    device = alert.event.get("data", {}).get("device")
    if not isinstance(device, dict):
        return "", "", False, []
    name = device.get("name")
    known = bool(device.get("known"))
    who = str(name)[:60] if name else "A device you know" if known else "An unknown device"
    chips = ["known" if known else "unknown"]
    if device.get("private"):
        chips.append("private address")
    detail = ""
    if first := _time(device.get("first_seen")):
        new = abs((when - first).total_seconds()) < 120
        detail = "first visit" if new else f"first seen {first.day} {first:%b %Y}"
    return who, detail, known, chips


def _time(value: Any) -> datetime | None:
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value).astimezone()
        return datetime.fromisoformat(str(value)).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def _pictures(alert: Alert) -> list[Picture]:
    labels = _labels(alert)
    pictures = []
    for photo in alert.photos:
        named = ", ".join(f"{n} {s:.0%}" for n, s, _ in labels) or "no labels"
        unit = max(photo.width, photo.height) / 30
        pictures.append(
            Picture(
                url=f"/photos/{photo.id}.jpg",
                width=photo.width,
                height=photo.height,
                unit=unit,
                camera=alert.camera or photo.name,
                taken=_when(alert).strftime("%H:%M:%S"),
                alt=f"Photo of camera {alert.camera or photo.name}: {named}",
                boxes=[
                    _box(label, photo, unit, i) for i, label in enumerate(labels) if label[2] and not photo.position
                ],
            )
        )
    return pictures


def _box(label: tuple[str, float, list[float]], photo: Photo, unit: float, index: int) -> Box:
    name, score, raw = label
    x, y, w, h = (min(1.0, max(0.0, v)) if math.isfinite(v) else 0.0 for v in raw)
    x, y = x * photo.width, y * photo.height
    w, h = min(w * photo.width, photo.width - x), min(h * photo.height, photo.height - y)
    text = f"{name} {score:.0%}" if score else name
    tag = (len(text) * 0.56 + 0.8) * unit
    tag_y = y - 1.35 * unit if y >= 1.4 * unit else y
    return Box(text, x, y, w, h, max(0.0, min(x, photo.width - tag)), tag_y, tag, _tone(name, index))


def _tone(name: str, index: int) -> int:
    """People stand out; other things share the calmer colours."""
    return 0 if name == "person" else 1 + index % 3


def _trace(alert: Alert) -> Trace:
    hops = [h for h in alert.trace if isinstance(h.get("at_ms"), int | float) and math.isfinite(h["at_ms"])]
    hops.sort(key=lambda h: h["at_ms"])
    total = max((h["at_ms"] for h in hops), default=0.0)
    bars = []
    for hop in hops:
        run = min(max(float(hop.get("run_ms") or 0.0), 0.0), max(hop["at_ms"], 0.0))
        scale = 100 / total if total > 0 else 0.0
        width = max(run * scale, 0.6)
        step = str(hop.get("step", ""))
        left = min(max((hop["at_ms"] - run) * scale, 0.0), 100 - width)
        bars.append(Bar(step, _MEANING.get(step, ""), str(hop.get("node", "")), hop["at_ms"], run, left, width))
    longest = max(bars, key=lambda b: b.run_ms, default=None)
    return Trace(alert.camera, bars, total, longest.step if longest and longest.run_ms else "")


def _raw(alert: Alert) -> dict[str, Any]:
    return {
        "seq": alert.seq,
        "received_ms": alert.received,
        "id": alert.event_id,
        "node": alert.node,
        "camera": alert.camera,
        "pipeline": alert.event.get("pipeline", ""),
        "via": alert.via,
        "size": alert.size,
        "received": datetime.fromtimestamp(alert.received / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        "json": functools.partial(_formatted, alert.event),  # called only by the page that shows it
    }


def _formatted(event: dict[str, Any]) -> str:
    """The event's JSON, indented unless that makes it longer than MAX_INDENTED."""
    try:
        plain = msgspec.json.encode(event)
    except RecursionError:
        return "(too deeply nested to show)"
    try:
        check_depth(event)
    except ValueError:
        return plain.decode()
    formatted = msgspec.json.format(plain, indent=2)
    return (formatted if len(formatted) <= MAX_INDENTED else plain).decode()
