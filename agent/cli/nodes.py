"""`edge-agent nodes` and the table of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.table import Table

from agent.api import results
from agent.cli.context import JsonFlag, ask, single
from agent.cli.output import console, count, dot, escape, labels, say, since, table

Where = Annotated[str, typer.Option("--where", "-l", metavar="SELECTOR", help="Only nodes with these labels.")]


def nodes(where: Where = "", json: JsonFlag = False) -> None:
    """List the nodes of the mesh: role, state, link, cameras, labels."""
    rows = ask(lambda c: c.get("/v1/nodes", where=where or None), list[results.ListedNode], json)
    say(view_nodes(rows, wide=True))
    alive = sum(n.alive for n in rows)
    say(f"[dim]{count(len(rows), 'node')}, {alive} alive[/]")


def view_nodes(rows: Sequence[results.NodeState], *, wide: bool = False) -> RenderableType:
    """The nodes as a table, or one below the other where the terminal is too narrow; `wide` adds id, endpoints and cameras."""
    shown = _table(rows, wide=wide)
    if Measurement.get(console(), console().options.update(width=1000), shown).maximum <= console().width:
        return shown
    return Group(*(_lines(n, wide=wide) for n in rows))


def _table(rows: Sequence[results.NodeState], *, wide: bool) -> Table:
    columns = ["", "node", "role", "state", "labels", "version", *(("id", "address", "cameras") if wide else ())]
    return table(columns, [[dot(n.alive), *_facts(n), *(_more(n) if wide else [])] for n in rows])


def _lines(n: results.NodeState, *, wide: bool) -> str:
    """One node in lines of words, which may break anywhere between two."""
    name, role, state, marks, version = _facts(n)
    more = [f"  {text}" for text in (marks, *(_more(n) if wide else [])) if text]
    return "\n".join([f"{dot(n.alive)} {name} {role}, {state}, {version}", *more])


def _facts(n: results.NodeState) -> list[str]:
    role = "[cyan]operator[/]" if n.role == "operator" else escape(n.role)
    return [f"[bold]{escape(n.name)}[/]", role, _state(n), labels(n.labels), escape(n.version)]


def _more(n: results.NodeState) -> list[str]:
    cameras = n.cameras if isinstance(n, results.ListedNode) else []
    return [escape(n.id), escape(" ".join(n.endpoints)), escape(" ".join(cameras))]


def _state(n: results.NodeState) -> str:
    if n.own:
        return "this node"
    if not n.alive:
        return f"[red]gone {since(n.seen_s)}[/]"
    return "linked" if n.linked else "[yellow]relayed[/]"


app = single(nodes, examples=("edge-agent nodes", "edge-agent nodes -l camera=true --json"))
