"""`edge-agent node …`: who is in the mesh, and who may come in."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of
from agent.cli.context import JsonFlag, YesFlag, connect, new_app, parse_labels
from agent.cli.nodes import Where, nodes
from agent.cli.output import ago, console, escape, labels, print_json, show, size, table

app = new_app(
    "Admit, label, rename and remove nodes.",
    examples=(
        "edge-agent node pending",
        "edge-agent node approve K7Q2",
        "edge-agent node label porch camera=true battery-",
        "edge-agent node remove old-ap",
    ),
)

Node = Annotated[str, typer.Argument(metavar="NODE", help="Name or id of the node.")]


@app.command("list")
def list_(where: Where = "", json: JsonFlag = False) -> None:
    """List the nodes of the mesh."""
    nodes(where, json)


@app.command()
def describe(node: Node, json: JsonFlag = False) -> None:
    """Show one node: labels, capacity, cameras, and the steps that run on it."""
    with connect() as client:
        n = client.get(path_of("nodes", node))
    if json:
        print_json(n)
        return
    capacity, certificate = n.get("capacity") or {}, n.get("certificate") or {}
    rows = [
        ["id", escape(n.get("id", ""))],
        ["role", escape(n.get("role", ""))],
        ["alive", "yes" if n.get("alive") else "no"],
        ["version", escape(n.get("version", ""))],
        ["labels", labels(n.get("labels", {}), hide=())],
        ["addresses", escape(" ".join(n.get("endpoints", [])))],
        ["capacity", f"{capacity.get('cpus', 0):g} cores, {size(capacity.get('memory', 0))}, "
                     f"{capacity.get('free', 0)} free places, {capacity.get('gpus', 0)} GPUs"],
        ["cameras", escape(", ".join(f"{c['name']} ({c['kind']})" for c in n.get("cameras", [])))],
        ["steps", escape(" ".join(n.get("steps", [])))],
    ]  # fmt: skip
    if certificate:
        rows.append(["certificate", f"{certificate.get('days_left', 0):.0f} days left"])
    console().print(f"[bold]{escape(n.get('name', ''))}[/]")
    console().print(table(["", ""], rows))


@app.command()
def pending(json: JsonFlag = False) -> None:
    """List what waits for an operator: nodes that want in, and labels that nodes ask for."""
    with connect() as client:
        rows = client.get("/v1/pending")
    if json:
        print_json(rows)
    elif not rows:
        console().print("[dim]nobody waits[/]")
    else:
        cells = [
            [
                f"[bold]{escape(r['code'])}[/]",
                escape(r.get("kind", "")),
                escape(r.get("node", "")),
                escape(r.get("id", "")),
                escape(r.get("address", "")),
                labels(r.get("labels", {})),
                ago(r.get("since")),
            ]
            for r in rows
        ]
        console().print(table(["code", "wants", "node", "id", "from", "labels", "since"], cells))


@app.command()
def approve(
    code: Annotated[str, typer.Argument(help="The short code that the node shows.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Labels instead of those asked for.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Let a waiting node in, or confirm its labels. Compare the code with the one on its screen."""
    body = {"labels": parse_labels(label)} if label else {}
    with connect() as client:
        n = client.post(path_of("pending", code), body)
    show(n, json, f"[green]✓[/] [bold]{escape(n['node'])}[/] is in  [dim]{labels(n.get('labels', {}))}[/]")


@app.command()
def rename(node: Node, name: Annotated[str, typer.Argument(help="The new name.")], json: JsonFlag = False) -> None:
    """Give a node another name."""
    with connect() as client:
        n = client.post(path_of("nodes", node, "rename"), {"name": name})
    show(n, json, f"[green]✓[/] {escape(n.get('was', node))} is now [bold]{escape(n['node'])}[/]")


@app.command()
def label(
    node: Node,
    changes: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE|KEY-…", help="Labels to set, or to drop with '-'.")
    ],
    json: JsonFlag = False,
) -> None:
    """Set and drop labels of a node, signed by this operator."""
    drop = [c[:-1] for c in changes if c.endswith("-") and "=" not in c]
    add = parse_labels([c for c in changes if not (c.endswith("-") and "=" not in c)])
    with connect() as client:
        n = client.post(path_of("nodes", node, "labels"), {"add": add, "drop": drop})
    show(n, json, f"[green]✓[/] [bold]{escape(n['node'])}[/]  {labels(n.get('labels', {}))}")


@app.command()
def remove(node: Node, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a node from the mesh for good: nobody will believe it any more."""
    if not yes and not json:
        typer.confirm(f"Remove {node} from the mesh for good?", abort=True)
    with connect() as client:
        n = client.delete(path_of("nodes", node))
    waiting = n.get("unconfirmed", [])
    more = [f"[yellow]not yet confirmed by {escape(', '.join(waiting))}[/]"] if waiting else []
    if n.get("hint"):
        more.append(f"[yellow]→[/] {escape(n['hint'])}")
    show(n, json, f"[green]✓[/] [bold]{escape(n['node'])}[/] is removed", *more)
