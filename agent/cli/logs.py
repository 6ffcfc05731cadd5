"""`edge-agent logs`: what a step's programs wrote to stderr."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import typer

from agent.api import path_of
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import console, escape


def logs(
    step: Annotated[str, typer.Argument(metavar="PIPELINE[/STEP]", help="Which step, or all of a pipeline.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many recent lines first.")] = 100,
    node: Annotated[str, typer.Option("--node", help="Only from this node.")] = "",
    json: JsonFlag = False,
) -> None:
    """Show what a step's programs wrote to stderr, from all nodes that run it."""
    pipeline, _, name = step.partition("/")
    with connect() as client:
        path = path_of("logs", pipeline)
        for row in client.stream(path, step=name or None, node=node or None, follow=follow, lines=lines):
            if json:
                sys.stdout.write(jsonlib.dumps(row, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            else:
                missed = f"[red]({row['missed']} missed)[/] " if row.get("missed") else ""
                head = f"[dim]{escape(row.get('time', '')[11:23])}[/] {missed}[bold]{escape(row.get('node', ''))}[/]"
                console().print(f"{head} [cyan]{escape(row.get('step', ''))}[/] {escape(row.get('line', ''))}")


app = single(
    logs, examples=("edge-agent logs person-at-the-door/labels -f", "edge-agent logs person-at-the-door -n 20")
)
