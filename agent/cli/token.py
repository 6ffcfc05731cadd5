"""`edge-agent token …`: tokens that let new nodes join."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, read, results
from agent.cli.context import JsonFlag, connect, new_app, parse_labels
from agent.cli.output import ago, console, escape, labels, print_json, show, table

app = new_app(
    "Tokens that let new nodes join.",
    examples=("edge-agent token create", "edge-agent token create --uses 5 --ttl 1d -l camera=true"),
)


@app.command()
def create(
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good for.")] = "1h",
    uses: Annotated[int, typer.Option("--uses", help="How many nodes may join with it.")] = 1,
    role: Annotated[str, typer.Option("--role", help="member or operator.")] = "member",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label of nodes that join; repeatable."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a token and print the exact line for the next device. It is shown this once."""
    from agent.config import parse_duration

    body = {"ttl": parse_duration(ttl), "uses": uses, "role": role, "labels": parse_labels(label or [])}
    with connect() as client:
        found = client.post("/v1/tokens", body)
    if json:
        print_json(found)
        return
    t = read(found, results.NewToken)
    typer.echo(t.line)
    console().print(f"[dim]{escape(t.id)}: {escape(t.role)}, good for {t.uses} and until {escape(t.expires)}[/]")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List tokens that are still good. Their secrets are not shown again."""
    with connect() as client:
        found = client.get("/v1/tokens")
    rows = [] if json else read(found, list[results.ListedToken])
    if json:
        print_json(found)
    elif not rows:
        console().print("[dim]no token is good now; edge-agent token create makes one[/]")
    else:
        cells = [
            [escape(t.id), escape(t.role), f"{t.left} of {t.uses}", ago(t.expires), labels(t.labels)] for t in rows
        ]
        console().print(table(["token", "role", "left", "expires", "labels"], cells))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="The token's id, see token list.")], json: JsonFlag = False
) -> None:
    """Take a token back. Nodes that joined with it stay."""
    with connect() as client:
        found = client.delete(path_of("tokens", token))
    show(found, json, f"[green]✓[/] token {escape(read(found, results.Id).id)} is revoked")
