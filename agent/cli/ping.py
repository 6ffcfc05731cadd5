"""`edge-agent ping`: measure the way to a node."""

from __future__ import annotations

import time
from statistics import fmean
from typing import Annotated

import typer

from agent.api import path_of, read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import escape, print_json, say
from agent.errors import EdgeError, Unreachable

_WAYS = {"self": "this node", "direct": "direct", "relayed": "relayed by other nodes", "none": "no way"}


def ping(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Name or id, see edge-agent nodes.", autocompletion=completion.nodes)
    ],
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=10_000, help="Number of round trips.")] = 4,
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.0, max=3600.0, help="Pause between two.")
    ] = 1.0,
    json: JsonFlag = False,
) -> None:
    """Send signed requests to a node over the mesh, and show how long each answer takes.

    Each line shows the time, whether the link is direct or relayed, and the difference between the two clocks. With
    --json: one JSON document per round trip, with `error` where no answer came. Ends with 1 when no answer came at all.
    """
    times: list[float] = []
    with connect() as client:
        for number in range(count):
            if number:
                time.sleep(interval)
            try:
                found = client.get(path_of("nodes", node, "ping"))
            except EdgeError as e:
                if e.code != Unreachable.code:  # it is not about the other node
                    raise
                print_json({"error": e.to_dict()}, line=True) if json else say(f"[red]✗[/] {escape(e.message)}")
                continue
            answer = read(found, results.PingAnswer)
            times.append(answer.ms)
            print_json(found, line=True) if json else say(_line(answer))
    if not json:
        say(_summary(times, count))
    raise typer.Exit(0 if times else 1)


def _line(a: results.PingAnswer) -> str:
    way = _WAYS[a.way] + (f" {escape(a.address)}" if a.address else "")
    return f"[green]●[/] [bold]{escape(a.node)}[/]  {a.ms:.2f} ms  [dim]{way}, clock {a.offset_s:+.3f} s[/]"


def _summary(times: list[float], count: int) -> str:
    text = f"{len(times)} of {count} answered"
    if times:
        text += f"; min {min(times):.2f}, mean {fmean(times):.2f}, max {max(times):.2f} ms"
    return f"[dim]{text}[/]"


app = single(ping, examples=("edge-agent ping gpu", "edge-agent ping porch -c 1 --json"))
