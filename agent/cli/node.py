"""`edge-agent node …`: the nodes of the mesh, and those that wait to join."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, ask, new_app, parse_labels
from agent.cli.nodes import Where, nodes
from agent.cli.output import ago, escape, labels, listing, say, size, table

app = new_app(
    "Admit, label, rename and remove nodes.",
    examples=(
        "edge-agent node pending",
        "edge-agent node approve K7Q2",
        "edge-agent node label porch camera=true battery-",
        "edge-agent node remove old-ap",
    ),
)

Node = Annotated[str, typer.Argument(metavar="NODE", help="Name or id of the node.", autocompletion=completion.nodes)]


@app.command("list")
def list_(where: Where = "", json: JsonFlag = False) -> None:
    """List the nodes of the mesh."""
    nodes(where, json)


@app.command()
def describe(node: Node, json: JsonFlag = False) -> None:
    """Show one node: labels, capacity, cameras, the steps that run on it, and its hardware.

    The hardware of other nodes is shown on an operator, while they are alive.
    """
    from agent.cli.status_view import device

    n = ask(lambda c: c.get(path_of("nodes", node)), results.DescribedNode, json)
    rows = [
        ["id", escape(n.id)],
        ["role", escape(n.role)],
        ["alive", "yes" if n.alive else "no"],
        ["version", escape(n.version)],
        ["labels", labels(n.labels, hide=())],
        ["addresses", escape(" ".join(n.endpoints))],
        ["capacity", f"{n.capacity.cpus:g} cores, {size(n.capacity.memory)}, "
                     f"{n.capacity.free} free places, {n.capacity.gpus} GPUs"],
        ["cameras", escape(", ".join(f"{c.name} ({c.kind})" for c in n.cameras))],
        ["steps", escape(" ".join(n.steps))],
    ]  # fmt: skip
    if n.certificate is not None:
        rows.append(["certificate", f"{n.certificate.days_left} days left"])
    if n.device is not None:
        rows.append(["device", device(n.device)])
        rows += [["video", escape(f"{v.source} ({v.text})")] for v in n.device.video]
    say(f"[bold]{escape(n.name)}[/]")
    say(table(["", ""], rows))


@app.command()
def pending(json: JsonFlag = False) -> None:
    """List the nodes that wait to join, and the labels that nodes ask for."""
    cells = [
        [
            f"[bold]{escape(r.code)}[/]",
            escape(r.kind),
            escape(r.node),
            escape(r.id),
            labels(r.labels),
            ago(r.since),
        ]
        for r in ask(lambda c: c.get("/v1/pending"), list[results.Pending], json)
    ]
    say(listing(["code", "wants", "node", "id", "labels", "since"], cells, empty="nothing waits"))


@app.command()
def approve(
    code: Annotated[str, typer.Argument(help="The short code that the node shows.")],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="Labels to sign instead of the requested labels."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Admit a waiting node, or confirm its labels. Compare the code with the code on its screen."""
    body = {"labels": parse_labels(label)} if label else {}
    n = ask(lambda c: c.post(path_of("pending", code), body), results.LabelledNode, json)
    say(f"[green]✓[/] [bold]{escape(n.node)}[/] is in  [dim]{labels(n.labels)}[/]")


@app.command()
def rename(node: Node, name: Annotated[str, typer.Argument(help="The new name.")], json: JsonFlag = False) -> None:
    """Give a node another name."""
    n = ask(lambda c: c.post(path_of("nodes", node, "rename"), {"name": name}), results.RenamedNode, json)
    say(f"[green]✓[/] {escape(n.was)} is now [bold]{escape(n.node)}[/]")


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
    n = ask(lambda c: c.post(path_of("nodes", node, "labels"), {"add": add, "drop": drop}), results.LabelledNode, json)
    say(f"[green]✓[/] [bold]{escape(n.node)}[/]  {labels(n.labels)}")


@app.command()
def remove(node: Node, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a node from the mesh for good: no other node accepts anything from it any more."""
    if not yes and not json:
        typer.confirm(f"Remove {node} from the mesh for good?", abort=True)
    n = ask(lambda c: c.delete(path_of("nodes", node)), results.RemovedNode, json)
    more = [f"[yellow]not yet confirmed by {escape(', '.join(n.unconfirmed))}[/]"] if n.unconfirmed else []
    if n.hint:
        more.append(f"[yellow]→[/] {escape(n.hint)}")
    say(f"[green]✓[/] [bold]{escape(n.node)}[/] is removed", *more)
