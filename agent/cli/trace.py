"""`edge-agent trace`: the path of an alert as a waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Group, RenderableType

from agent.api import path_of, results
from agent.cli.context import JsonFlag, ask, single
from agent.cli.output import console, count, escape, say, since, size, table

LEAST_BAR, MOST_BAR = 16, 56
NOTABLE = 1000.0
"""Shortest delay in ms, between a line's time and its reading, that is shown: log lines have whole seconds."""


def trace(
    alert: Annotated[
        str, typer.Argument(metavar="ALERT", help="Id of an alert or event, or its first four characters or more.")
    ],
    json: JsonFlag = False,
) -> None:
    """Show the path of an alert from the log line that caused it: each hop with its node and its ms.

    Solid is running, shaded is waiting and travelling. Times are durations measured on each node; no clock
    is compared with another.
    """
    found = ask(lambda c: c.get(path_of("trace", alert)), results.Trace, json)
    say(waterfall(found, console().width))


def waterfall(t: results.Trace, width: int) -> RenderableType:
    """The trace, drawn."""
    return Group(*_parts(t, width))


def _parts(t: results.Trace, width: int) -> Iterator[RenderableType]:
    late, hops = from_reading(t.hops)
    total = max((h.at_ms for h in hops), default=0.0)
    about = " · ".join(map(escape, (t.pipeline, t.type, t.time)))
    yield f"[bold]{escape(t.id)}[/]  {about}"
    state = "" if t.complete else "  [yellow]still under way[/]"
    left = f" · {size(t.bytes_up)} left the building" if t.bytes_up is not None else ""
    root = f"[dim]root {escape(t.root)}[/]"
    yield f"{root} · [bold]{total:.1f} ms[/] in all · {count(len(hops), 'hop')}{left}{state}"
    if late >= NOTABLE:
        yield f"[dim]the line was read {since(late / 1000)} after its own time[/]"
    longest = longest_hop(hops)
    bar = max(LEAST_BAR, min(MOST_BAR, width - 52))
    rows, before = [], 0.0
    for hop in hops:
        mark = " [bold]← longest[/]" if hop is longest else ""
        end = f" [green]{escape(hop.end)}[/]" if hop.end else ""
        rows.append(
            [
                escape(hop.step),
                f"[bold]{escape(hop.node)}[/]",
                f"{hop.at_ms:.1f}",
                f"+{max(0.0, hop.at_ms - before):.1f}",
                f"{hop.run_ms:.1f}",
                draw(before, hop.at_ms, hop.run_ms, total, bar) + mark + end,
            ]
        )
        before = max(before, hop.at_ms)
    yield ""
    yield table(["step", "node", "at ms", "hop", "run", ""], rows, right=("at ms", "hop", "run"), pad=2)
    yield from _rest(t, longest)


def _rest(t: results.Trace, longest: results.TraceHop | None) -> Iterator[str]:
    yield ""
    if longest is not None:
        where = f"[bold]{escape(longest.step)}[/] on {escape(longest.node)}"
        yield f"longest: {where}, of it {longest.run_ms:.1f} ms running"
    for photo in t.photos:
        yield f"photo: {escape(photo.name)} {size(photo.size)} [dim]{escape(photo.cid)}[/]"
    for b in t.branches:
        reason = f" ({escape(b.reason)})" if b.reason else ""
        where = f"{escape(b.step)} on {escape(b.node)}"
        yield f"[dim]also from this root: {b.count} × {escape(b.end)}{reason} at {where}[/]"


def from_reading(hops: Sequence[results.TraceHop]) -> tuple[float, list[results.TraceHop]]:
    """How many ms after its own time the line was read, and the hops with their times counted from then.

    A line's own time has whole seconds and comes from another program's clock: it does not describe this mesh.
    """
    late = hops[0].at_ms if hops and hops[0].step == "line" else 0.0
    return late, [replace(h, at_ms=max(0.0, h.at_ms - late)) for h in hops]


def longest_hop(hops: Sequence[results.TraceHop]) -> results.TraceHop | None:
    """The hop that took longest, from the end of the hop before it to its end."""
    spans = [h.at_ms - (hops[i - 1].at_ms if i else 0.0) for i, h in enumerate(hops)]
    return hops[spans.index(max(spans))] if spans and max(spans) > 0 else None


def draw(before: float, at: float, run: float, total: float, width: int) -> str:
    """A bar from `before` to `at`: shaded while waiting, solid for the last `run` ms."""
    if total <= 0:
        return ""
    start = max(before, at - run)
    a, b, c = (min(width, round(x / total * width)) for x in (before, start, at))
    c = max(c, b + 1) if run > 0 or at > before else c
    return " " * a + f"[dim]{'░' * (b - a)}[/][green]{'█' * (c - b)}[/]"


app = single(trace, examples=("edge-agent trace k3f7qz", "edge-agent trace k3f7qz --json | jq .hops"))
