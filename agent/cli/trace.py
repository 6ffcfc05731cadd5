"""`edge-agent trace`: the way of an alert as a waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from agent.api import path_of
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import console, count, escape, print_json, since, size, table

LEAST_BAR, MOST_BAR = 16, 56
NOTABLE = 1000.0
"""Ms between a line's time and its reading from which on it is mentioned: log lines have whole seconds."""


def trace(
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="Id of an alert or event, or the beginning of one.")],
    json: JsonFlag = False,
) -> None:
    """Show the way of an alert from the log line that caused it: each hop, on which node, in how many ms.

    Solid is running, shaded is waiting and travelling. Times are durations measured on each node; no clock
    is compared with another.
    """
    with connect() as client:
        found = client.get(path_of("trace", alert))
    if json:
        print_json(found)
    else:
        console().print(waterfall(found, console().width))


def waterfall(t: Mapping[str, Any], width: int) -> RenderableType:
    """The trace, drawn."""
    return Group(*_parts(t, width))


def _parts(t: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    late, hops = from_reading(t.get("hops", []))
    total = max((h["at_ms"] for h in hops), default=0.0)
    about = " · ".join(escape(t.get(k, "")) for k in ("pipeline", "type", "time"))
    yield f"[bold]{escape(t.get('id', ''))}[/]  {about}"
    state = "" if t.get("complete", True) else "  [yellow]still under way[/]"
    left = f" · {size(t['bytes_up'])} left the building" if t.get("bytes_up") is not None else ""
    root = f"[dim]root {escape(t.get('root', ''))}[/]"
    yield f"{root} · [bold]{total:.1f} ms[/] in all · {count(len(hops), 'hop')}{left}{state}"
    if late >= NOTABLE:
        yield f"[dim]the line was read {since(late / 1000)} after the time it bears[/]"
    longest = longest_hop(hops)
    bar = max(LEAST_BAR, min(MOST_BAR, width - 52))
    rows, before = [], 0.0
    for hop in hops:
        mark = " [bold]← longest[/]" if hop is longest else ""
        end = f" [green]{escape(hop['end'])}[/]" if hop.get("end") else ""
        rows.append(
            [
                escape(hop["step"]),
                f"[bold]{escape(hop['node'])}[/]",
                f"{hop['at_ms']:.1f}",
                f"+{max(0.0, hop['at_ms'] - before):.1f}",
                f"{hop.get('run_ms', 0):.1f}",
                draw(before, hop["at_ms"], hop.get("run_ms", 0), total, bar) + mark + end,
            ]
        )
        before = max(before, hop["at_ms"])
    yield ""
    yield table(["step", "node", "at ms", "hop", "run", ""], rows, right=("at ms", "hop", "run"), pad=2)
    yield from _rest(t, longest)


def _rest(t: Mapping[str, Any], longest: Mapping[str, Any] | None) -> Iterator[str]:
    yield ""
    if longest is not None:
        run = longest.get("run_ms", 0)
        yield f"longest: [bold]{escape(longest['step'])}[/] on {escape(longest['node'])}, of it {run:.1f} ms running"
    for photo in t.get("photos", []):
        yield f"photo: {escape(photo['name'])} {size(photo.get('size'))} [dim]{escape(photo.get('cid', ''))}[/]"
    for b in t.get("branches", []):
        reason = f" ({escape(b['reason'])})" if b.get("reason") else ""
        where = f"{escape(b['step'])} on {escape(b.get('node', ''))}"
        yield f"[dim]also from this root: {b.get('count', 1)} × {escape(b['end'])}{reason} at {where}[/]"


def from_reading(hops: list[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """How many ms after its own time the line was read, and the hops with their times counted from then.

    A line's own time has whole seconds and another program's clock: it says nothing about this mesh.
    """
    late: float = hops[0].get("at_ms", 0.0) if hops and hops[0].get("step") == "line" else 0.0
    return late, [{**h, "at_ms": max(0.0, h["at_ms"] - late)} for h in hops]


def longest_hop(hops: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The hop that took longest, from the end of the one before to its own end."""
    spans = [h["at_ms"] - (hops[i - 1]["at_ms"] if i else 0.0) for i, h in enumerate(hops)]
    return hops[spans.index(max(spans))] if spans and max(spans) > 0 else None


def draw(before: float, at: float, run: float, total: float, width: int) -> str:
    """A bar from `before` to `at`: shaded while waiting, solid for the last `run` ms."""
    if total <= 0:
        return ""
    start = max(before, at - run)
    a, b, c = (min(width, round(x / total * width)) for x in (before, start, at))
    c = max(c, b + 1) if run > 0 or at > before else c
    return " " * a + f"[dim]{'░' * (b - a)}[/][green]{'█' * (c - b)}[/]"


app = single(trace, examples=("edge-agent trace k3f9", "edge-agent trace k3f9… --json | jq .hops"))
