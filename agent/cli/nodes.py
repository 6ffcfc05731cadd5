"""`edge-agent nodes` and the table of nodes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.cli.context import JsonFlag, connect, single
from agent.cli.output import console, count, dot, escape, labels, print_json, since, table

Where = Annotated[str, typer.Option("--where", "-l", metavar="SELECTOR", help="Only nodes with these labels.")]


def nodes(where: Where = "", json: JsonFlag = False) -> None:
    """List the nodes of the mesh: role, whether alive and linked, cameras, labels."""
    with connect() as client:
        rows = client.get("/v1/nodes", where=where or None)
    if json:
        print_json(rows)
        return
    console().print(node_table(rows, wide=True))
    alive = sum(bool(n.get("alive")) for n in rows)
    console().print(f"[dim]{count(len(rows), 'node')}, {alive} alive[/]")


def node_table(rows: list[dict[str, Any]], *, wide: bool = False) -> Any:
    """The nodes as a table; `wide` adds id, endpoints and cameras."""
    columns = ["", "node", "role", "state", "labels", "version", *(("id", "address", "cameras") if wide else ())]
    return table(columns, [_row(n, wide=wide) for n in rows])


def _row(n: dict[str, Any], *, wide: bool) -> list[str]:
    role = "[cyan]operator[/]" if n.get("role") == "operator" else escape(n.get("role", ""))
    more = []
    if wide:
        cameras = [c if isinstance(c, str) else c.get("name", "") for c in n.get("cameras", [])]
        more = [escape(n.get("id", "")), escape(" ".join(n.get("endpoints", []))), escape(" ".join(cameras))]
    return [
        dot(bool(n.get("alive"))),
        f"[bold]{escape(n.get('name', ''))}[/]",
        role,
        _state(n),
        labels(n.get("labels", {})),
        escape(n.get("version", "")),
        *more,
    ]


def _state(n: dict[str, Any]) -> str:
    if n.get("self"):
        return "this node"
    if not n.get("alive"):
        seen = n.get("seen_s")
        return f"[red]gone {since(seen)}[/]" if seen is not None else "[red]not heard[/]"
    return "linked" if n.get("linked") else "[yellow]relayed[/]"


app = single(nodes, examples=("edge-agent nodes", "edge-agent nodes -l camera=true --json"))
