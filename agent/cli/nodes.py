"""`edge-agent nodes` and the table of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from agent.api import results
from agent.cli.context import JsonFlag, ask, single
from agent.cli.output import count, dot, escape, labels, say, since, table

Where = Annotated[str, typer.Option("--where", "-l", metavar="SELECTOR", help="Only nodes with these labels.")]


def nodes(where: Where = "", json: JsonFlag = False) -> None:
    """List the nodes of the mesh: role, state, link, cameras, labels."""
    rows = ask(lambda c: c.get("/v1/nodes", where=where or None), list[results.ListedNode], json)
    say(node_table(rows, wide=True))
    alive = sum(n.alive for n in rows)
    say(f"[dim]{count(len(rows), 'node')}, {alive} alive[/]")


def node_table(rows: Sequence[results.NodeState], *, wide: bool = False) -> Table:
    """The nodes as a table; `wide` adds id, endpoints and cameras."""
    columns = ["", "node", "role", "state", "labels", "version", *(("id", "address", "cameras") if wide else ())]
    return table(columns, [_row(n, wide=wide) for n in rows])


def _row(n: results.NodeState, *, wide: bool) -> list[str]:
    role = "[cyan]operator[/]" if n.role == "operator" else escape(n.role)
    more = []
    if wide:
        cameras = n.cameras if isinstance(n, results.ListedNode) else []
        more = [escape(n.id), escape(" ".join(n.endpoints)), escape(" ".join(cameras))]
    return [dot(n.alive), f"[bold]{escape(n.name)}[/]", role, _state(n), labels(n.labels), escape(n.version), *more]


def _state(n: results.NodeState) -> str:
    if n.own:
        return "this node"
    if not n.alive:
        return f"[red]gone {since(n.seen_s)}[/]"
    return "linked" if n.linked else "[yellow]relayed[/]"


app = single(nodes, examples=("edge-agent nodes", "edge-agent nodes -l camera=true --json"))
