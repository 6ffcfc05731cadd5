"""Drawings for a terminal: the mesh, the events that pass, and the results of an arrival."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.api import read, results
from agent.cli import console, count, escape, size, waterfall
from demo import story
from demo.agents import Agents

Point = tuple[int, int]
WIDTH, HEIGHT = 48, 7
PLACES: dict[str, Point] = {"ap": (2, 0), "porch": (24, 0), "garage": (2, 6), "gpu": (24, 6)}
TASKS = {"ap": "Wi-Fi log", "porch": "camera", "garage": "camera", "gpu": "detector"}
LINES: dict[tuple[str, str], tuple[Point, Point]] = {
    ("ap", "porch"): ((17, 0), (22, 0)),
    ("garage", "gpu"): ((18, 6), (22, 6)),
    ("ap", "garage"): ((4, 1), (4, 5)),
    ("porch", "gpu"): ((26, 1), (26, 5)),
    ("ap", "gpu"): ((8, 1), (23, 5)),
    ("garage", "porch"): ((8, 5), (23, 1)),
}


class Canvas:
    """A grid of styled characters."""

    def __init__(self) -> None:
        self.cells: list[list[tuple[str, str]]] = [[(" ", "")] * WIDTH for _ in range(HEIGHT)]

    def write(self, at: Point, text: str, style: str) -> None:
        """Write text from a point to the right."""
        x, y = at
        for i, char in enumerate(text[: WIDTH - x]):
            self.cells[y][x + i] = (char, style)

    def line(self, a: Point, b: Point, style: str) -> None:
        """Draw a line between two points."""
        steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
        char = "─" if a[1] == b[1] else "│" if a[0] == b[0] else "·"
        for i in range(steps + 1):
            x, y = round(a[0] + (b[0] - a[0]) * i / steps), round(a[1] + (b[1] - a[1]) * i / steps)
            self.cells[y][x] = (char, style)

    def text(self) -> Text:
        """The whole canvas."""
        made = Text(no_wrap=True, overflow="crop")
        for row in self.cells:
            for char, style in row:
                made.append(char, style)
            made.append("\n")
        return made


def mesh(statuses: dict[str, dict[str, Any]], busy: Sequence[str]) -> Text:
    """The four agents and their links; busy nodes are highlighted."""
    canvas = Canvas()
    linked = {(a, n["name"]) for a, s in statuses.items() for n in s["nodes"] if n.get("linked")}
    for (a, b), (start, end) in LINES.items():
        there = (a, b) in linked or (b, a) in linked
        lit = a in busy and b in busy
        canvas.line(start, end, "bold yellow" if there and lit else "green" if there else "bright_black")
    for name, (x, y) in PLACES.items():
        alive = name in statuses
        canvas.write((x, y), "●" if alive else "○", "bold yellow" if name in busy else "green" if alive else "red")
        canvas.write((x + 2, y), name, "bold reverse" if name in busy else "bold")
        canvas.write((x + 3 + len(name), y), TASKS[name], "dim")
    if statuses.get("gpu", {}).get("uplink", {}).get("connected"):
        canvas.write((39, 6), "══▶ sink", "cyan")
    return canvas.text()


def passing(events: Sequence[dict[str, Any]], lines: int = HEIGHT) -> Table:
    """The newest events."""
    grid = Table.grid(padding=(0, 2))
    for width in (8, 6, 18, None):
        grid.add_column(no_wrap=True, min_width=width, overflow="ellipsis")
    for event in list(events)[-lines:]:
        data = event.get("data") or {}
        what = data.get("camera") or data.get("mac") or (data.get("device") or {}).get("mac") or ""
        named = ", ".join(f"{x['name']} {x['score']:.2f}" for x in (data.get("labels") or [])[:3])
        grid.add_row(
            f"[dim]{escape(event.get('time', '')[11:19])}[/]",
            f"[bold]{escape(event.get('node', ''))}[/]",
            escape(event.get("type", "")),
            f"[dim]{escape(what)}[/] [yellow]{escape(named)}[/]",
        )
    return grid


def result(agents: Agents, arrival: story.Arrival) -> RenderableType:
    """The results of an arrival: its traces, and the bytes that left the building."""
    return Group(*_parts(agents, arrival))


def _parts(agents: Agents, arrival: story.Arrival) -> Iterator[RenderableType]:
    phone = f"[bold]{escape(arrival.name)}[/]'s phone" if arrival.name else "somebody's phone"
    yield f"\n[bold]▶[/] {phone} joined the Wi-Fi [dim]({escape(arrival.mac)})[/]"
    if not arrival.arrived:
        yield Padding("the phone was here less than 30 minutes ago: no arrival, no photos, no alert", (0, 0, 0, 2))
    elif arrival.known:
        yield Padding("a known device: an arrival, but no photos and no alert", (0, 0, 0, 2))
    elif not arrival.alerts:
        yield Padding("no camera saw a person: no alert, and each camera's node deletes its photos", (0, 0, 0, 2))
    for trace in arrival.traces if arrival.alerts else []:
        found = replace(read(trace, results.Trace), branches=[])
        yield Padding(waterfall(found, console().width - 2), (1, 0, 0, 2))
    if arrival.sizes:
        before, after = (sum(s[k] for s in arrival.sizes) for k in ("before", "after"))
        cameras = count(len({s["camera"] for s in arrival.sizes}), "camera")
        photos = f"{count(len(arrival.sizes), 'photo')} by {cameras}"
        yield Padding(f"{photos}, rescaled from {size(before)} to {size(after)}; {_alerts(arrival)}", (1, 0, 0, 2))
    yield Padding(left(story.egress(agents)), (0, 0, 1, 2))


def _alerts(arrival: story.Arrival) -> str:
    return f"[green]{count(len(arrival.alerts), 'alert')} on the sink's page[/]"


def left(egress: dict[str, Any]) -> str:
    """The bytes that left the building, compared with streaming."""
    times = f"1/{egress['streaming'] / egress['up']:,.0f}" if egress["up"] else "nothing"
    return (
        f"[bold]{size(egress['up'])}[/] left the building in {egress['seconds']:.0f} s; streaming both cameras at 2 Mbit/s "
        f"would have been {size(egress['streaming'])}: [bold]{times}[/]"
    )
