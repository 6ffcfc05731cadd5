"""`edge-agent logs`: the logs of steps, from every node that runs them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from agent.api import path_of, read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import escape, print_json, say
from agent.config import parse_duration
from agent.errors import ConfigError

MOST = 2000
"""Most recent lines: one answer of a node holds no more."""
LONGEST = 3650 * 86400.0
"""Longest `--since` in seconds; the local API takes no longer one."""


def logs(
    step: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE[/STEP]", help="A step, or a pipeline for all its steps.", autocompletion=completion.logs
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until interrupted.")] = False,
    tail: Annotated[
        int,
        typer.Option(
            "--tail",
            "--lines",
            "-n",
            min=0,
            max=MOST,
            metavar="N",
            help=f"How many recent lines to show first, up to {MOST}.",
        ),
    ] = 100,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only lines since then, of those of --tail: 10m, 2h, or an RFC 3339 time.",
        ),
    ] = "",
    node: Annotated[str, typer.Option("--node", help="Only from this node.", autocompletion=completion.nodes)] = "",
    json: JsonFlag = False,
) -> None:
    """Show the log of a step: the output of its programs and the agent's messages about them, from all nodes that run it.

    Lines are sorted by the clocks of their nodes. Nodes that join later are followed too. A node that is not an operator
    shows its own log only.
    """
    pipeline, _, name = step.partition("/")
    asked = {"step": name or None, "node": node or None, "follow": follow, "lines": tail, "since": seconds_since(since)}
    with connect() as client:
        for row in client.stream(path_of("logs", pipeline), **asked):
            if json:
                print_json(row, line=True)
            else:
                _show(read(row, results.LogRow))


def _show(row: results.LogRow) -> None:
    missed = f"[red]({row.missed} missed)[/] " if row.missed else ""
    head = f"[dim]{escape(row.time[11:23])}[/] {missed}[bold]{escape(row.node)}[/] [cyan]{escape(row.step)}[/]"
    agent = "[yellow]agent:[/] " if row.stream == "agent" else ""
    say(f"{head} {agent}{escape(row.line)}")


def seconds_since(text: str) -> float | None:
    """How many seconds ago, up to LONGEST: a duration or an RFC 3339 time; None for an empty text. Raises ConfigError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return min(LONGEST, max(1e-3, parse_duration(text)))
        except ConfigError as e:
            raise ConfigError(f"--since: {e.message}", hint="write 10m, 2h, 3d or 2026-03-04T09:12:18Z") from None
    if at.tzinfo is None:
        at = at.astimezone()
    seconds = (datetime.now(UTC) - at).total_seconds()
    if seconds <= 0:
        raise ConfigError(
            f"--since: {text} is in the future", hint="a time without a zone is in the zone of this machine"
        )
    return min(LONGEST, seconds)


app = single(
    logs,
    examples=(
        "edge-agent logs person-at-the-door/labels -f",
        "edge-agent logs person-at-the-door --since 10m --node gpu",
        "edge-agent logs person-at-the-door --tail 20 --json",
    ),
)
