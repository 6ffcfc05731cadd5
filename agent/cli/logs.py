"""`edge-agent logs`: the lines that a step's programs wrote to stderr."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, read, results
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import escape, print_json, say


def logs(
    step: Annotated[str, typer.Argument(metavar="PIPELINE[/STEP]", help="Which step, or all of a pipeline.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many recent lines first.")] = 100,
    node: Annotated[str, typer.Option("--node", help="Only from this node.")] = "",
    json: JsonFlag = False,
) -> None:
    """Show the lines that a step's programs wrote to stderr, from all nodes that run it."""
    pipeline, _, name = step.partition("/")
    with connect() as client:
        path = path_of("logs", pipeline)
        for row in client.stream(path, step=name or None, node=node or None, follow=follow, lines=lines):
            if json:
                print_json(row, line=True)
            else:
                told = read(row, results.LogRow)
                missed = f"[red]({told.missed} missed)[/] " if told.missed else ""
                head = f"[dim]{escape(told.time[11:23])}[/] {missed}[bold]{escape(told.node)}[/]"
                say(f"{head} [cyan]{escape(told.step)}[/] {escape(told.line)}")


app = single(
    logs, examples=("edge-agent logs person-at-the-door/labels -f", "edge-agent logs person-at-the-door -n 20")
)
