"""`edge-agent status`: the whole agent at a glance."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from agent.api import read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, ask, connect, single
from agent.cli.output import console, print_json, say
from agent.errors import EdgeError, Unreachable

WHOLE = "*"
"""The whole mesh, for the local API."""


def status(
    json: JsonFlag = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until interrupted.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How often, with --watch.")] = 2.0,
    node: Annotated[
        str,
        typer.Option(
            "--node",
            metavar="NODE",
            help="Only the view of this node.",
            show_default=False,
            autocompletion=completion.nodes,
        ),
    ] = WHOLE,
) -> None:
    """Show the state of this agent and its mesh.

    Identity, mesh, nodes, cameras, every step with its queue and ends (accepted = all ends + open), the
    last event, the uplink, and the warnings with their hints. With --watch --json: one JSON
    document per line.

    On an operator the counts of steps and journal are sums over the live nodes that answer, and the warnings are
    those of all nodes; --node NAME shows what one node counts. Other nodes know only the codes of others' warnings.
    """
    if not watch:
        from agent.cli.status_view import view

        say(view(ask(lambda c: c.get("/v1/status", node=node), results.Status, json)))
    elif json or not sys.stdout.isatty():
        with connect() as client:
            for now in client.stream("/v1/status", watch=every, node=node):
                print_json(now, line=True)
    else:
        _live(every, node)


def _live(every: float, node: str) -> None:
    from rich.live import Live

    from agent.cli.status_view import view

    with Live(console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                with connect() as client:
                    for now in client.stream("/v1/status", watch=every, node=node):
                        live.update(view(read(now, results.Status)), refresh=True)
            except Unreachable as e:
                live.update(_absent(e), refresh=True)
            time.sleep(every)


def _absent(error: EdgeError) -> str:
    return f"[red]{error.message}[/]\n[dim]{error.hint}; waiting for it …[/]"


app = single(
    status,
    examples=(
        "edge-agent status",
        "edge-agent status --watch",
        "edge-agent status --node garage",
        "edge-agent status --json | jq .warnings",
    ),
)
