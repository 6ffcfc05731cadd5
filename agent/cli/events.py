"""`edge-agent events`: recent and new events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.api import read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import console, escape, print_json, size

_COLOURS = {"wifi": "cyan", "device": "magenta", "camera": "yellow", "image": "green", "alert": "bold red"}


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new events until interrupted.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Number of recent events to show first.")] = 20,
    kind: Annotated[str, typer.Option("--type", "-t", help="Only events of this type.")] = "",
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="Only events of this pipeline.", autocompletion=completion.pipelines)
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Show recent events that this node knows; with --follow also new events as they happen.

    With --json each line is the CloudEvent, with the name of its node as `node`.
    """
    with connect() as client:
        rows = client.stream("/v1/events", follow=follow, limit=limit, type=kind or None, pipeline=pipeline or None)
        for row in rows:
            if json:
                print_json(row, line=True)
            else:
                console().print(line(read(row, results.EventRow)), overflow="ellipsis", no_wrap=True)


def line(e: results.EventRow) -> str:
    """One event as one line: time, node, step, type, and a summary of its data."""
    colour = _COLOURS.get(e.type.partition(".")[0], "white")
    where = escape("/".join(filter(None, (e.pipeline, e.step))))
    missed = f"[red]({e.missed} missed)[/] " if e.missed else ""
    head = f"[dim]{escape(e.time[11:23])}[/] {missed}[bold]{escape(e.node):<8}[/]"
    if e.omitted:
        missed += f"[yellow]({size(e.omitted)}, too long to pass on)[/] "
    ident = f"[dim]{escape(e.id)}[/]"
    return f"{head} [{colour}]{escape(e.type):<20}[/] [dim]{where}[/] {summary(e.data)} {ident}"


def summary(data: dict[str, Any]) -> str:
    """The data in a few words: device, camera, labels with scores, sizes."""
    words = []
    if device := data.get("device"):
        words.append(
            escape(str(device.get("name") or device.get("id") or "a device")) + ("" if device.get("known") else "?")
        )
    elif data.get("mac"):
        words.append(escape(str(data["mac"])))
    if data.get("camera"):
        words.append(f"camera {escape(str(data['camera']))}")
    found = [f"{n.get('name')} {n.get('score', 0):.2f}" for n in data.get("labels") or [] if isinstance(n, dict)]
    if found:
        words.append(escape(", ".join(found[:4])) + (" …" if len(found) > 4 else ""))
    if blobs := data.get("blobs"):
        words.append(f"[dim]{len(blobs)} photo{'s' if len(blobs) > 1 else ''}[/]")
    return " ".join(words)


app = single(events, examples=("edge-agent events -f", "edge-agent events -t image.labels -n 5 --json"))
