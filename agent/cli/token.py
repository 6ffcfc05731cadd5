"""`edge-agent token …`: tokens that let new nodes join."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, results
from agent.cli.context import JsonFlag, ask, new_app, parse_labels
from agent.cli.output import ago, escape, labels, listing, say

app = new_app(
    "Tokens that let new nodes join.",
    examples=("edge-agent token create", "edge-agent token create --uses 5 --ttl 1d -l camera=true"),
)


@app.command()
def create(
    ttl: Annotated[str, typer.Option("--ttl", help="How long the token is valid.")] = "1h",
    uses: Annotated[int, typer.Option("--uses", help="How many nodes may join with it.")] = 1,
    role: Annotated[str, typer.Option("--role", help="member or operator.")] = "member",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label of nodes that join; repeatable."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a token and print the exact line for the next device. It is shown only once."""
    from agent.config import parse_duration

    body = {"ttl": parse_duration(ttl), "uses": uses, "role": role, "labels": parse_labels(label or [])}
    t = ask(lambda c: c.post("/v1/tokens", body), results.NewToken, json)
    if t.install is not None:
        # A shell that ignores lines with a space in front keeps the token out of its history.
        say("[dim]installs the agent on a device and lets it join; without curl, the second line:[/]")
        typer.echo(f" {t.install.curl}\n\n {t.install.wget}\n")
        say("[dim]where the agent is installed already:[/]")
    typer.echo(t.line)
    say(f"[dim]{escape(t.id)}: {escape(t.role)}, good for {t.uses} and until {escape(t.expires)}[/]")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the valid tokens. Their secrets are not shown again."""
    cells = [
        [
            escape(t.id),
            escape(t.role),
            f"{t.left} of {t.uses}",
            ago(t.expires),
            labels(t.labels),
        ]
        for t in ask(lambda c: c.get("/v1/tokens"), list[results.ListedToken], json)
    ]
    empty = "no token is valid now; edge-agent token create makes one"
    say(listing(["token", "role", "left", "expires", "labels"], cells, empty=empty))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="The token's id, see token list.")], json: JsonFlag = False
) -> None:
    """Revoke a token. Nodes that joined with it stay."""
    gone = ask(lambda c: c.delete(path_of("tokens", token)), results.Id, json)
    say(f"[green]✓[/] token {escape(gone.id)} is revoked")
