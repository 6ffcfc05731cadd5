"""`edge-agent sink …`: where alerts go."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import results
from agent.cli.context import JsonFlag, YesFlag, ask, new_app, read_secret
from agent.cli.output import count, escape, say
from agent.cli.status_view import uplink
from agent.errors import ConfigError

app = new_app(
    "The sink that alerts go to.",
    examples=(
        "edge-agent sink connect https://192.0.2.7:8443#sha256=…",
        "edge-agent sink status",
        "edge-agent sink disconnect",
    ),
)


@app.command("connect")
def connect_(
    url: Annotated[str, typer.Argument(help="The line that edge-sink printed: https://HOST#sha256=…")],
    key_file: Annotated[
        str,
        typer.Option("--key-file", metavar="FILE|-", help="File with the sink's key; '-' asks for it or reads stdin."),
    ] = "-",
    password_file: Annotated[
        str, typer.Option(metavar="FILE|-", help="File with the broker's password, for mqtt://USER@HOST and mqtts://.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Test a sink, remember it on this node only, and label the node uplink=true. The key is asked for."""
    if not url.startswith(("https://", "mqtt://", "mqtts://")) or (
        url.startswith("https://") and "#sha256=" not in url
    ):
        hint = "copy the whole line that `edge-sink serve` printed: https://HOST:PORT#sha256=…"
        raise ConfigError("this is not the whole address of a sink", hint=hint)  # before the key is asked for
    key = read_secret(key_file, "Key")
    password = read_secret(password_file, "Broker's password") if password_file else ""
    made = ask(
        lambda c: c.post("/v1/sink", {"url": url, "key": key, "password": password}), results.ConnectedSink, json
    )
    say(f"[green]✓[/] {escape(made.node)} is connected to {escape(made.sink)}")


@app.command("disconnect")
def disconnect_(yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Forget the sink of this node: its address, its key and the label uplink.

    Alerts that wait for the sink stay on this node, and are sent when it is connected to a sink again; new alerts go to other
    nodes that have a sink. The key stays valid at the sink until edge-sink key revoke.
    """
    if not yes and not json:
        typer.confirm("Forget the sink of this node?", abort=True)
    gone = ask(lambda c: c.delete("/v1/sink"), results.DisconnectedSink, json)
    say(f"[green]✓[/] {escape(gone.node)} has no sink any more: {escape(gone.sink)}")
    if gone.waiting:
        say(f"[yellow]![/] {count(gone.waiting, 'alert')} wait here: edge-agent sink connect sends them")
    if gone.labelled:
        say(f"[dim]→ on an operator: edge-agent node label {escape(gone.node)} uplink-[/]")


@app.command()
def status(json: JsonFlag = False) -> None:
    """Show whether the sink answers, and the waiting and delivered alerts."""
    say(uplink(ask(lambda c: c.get("/v1/sink"), results.UplinkState, json)))
