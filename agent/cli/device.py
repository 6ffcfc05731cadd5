"""`edge-agent device …`: phones and laptops on the Wi-Fi."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, ask, new_app
from agent.cli.output import ago, dot, escape, listing, say

app = new_app(
    "Phones and laptops on the Wi-Fi: which are here, and which are known.",
    examples=(
        "edge-agent device list",
        'edge-agent device name 3c:22:fb:00:00:01 "Ada\'s phone"',
        "edge-agent device know phone",
    ),
)

Device = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Name, MAC or id, see device list.", autocompletion=completion.devices)
]


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List devices that were heard: those present first."""
    found = ask(lambda c: c.get("/v1/devices"), list[results.Device], json)
    cells = [
        [
            dot(True if d.present else None),
            f"[bold]{escape(d.name or '-')}[/]",
            "[green]known[/]" if d.known else "unknown",
            escape(d.id) + (" [dim]private[/]" if d.private else ""),
            escape(d.node),
            ago(d.last_seen),
            ago(d.first_seen),
        ]
        for d in found
    ]
    say(listing(["", "name", "", "id", "at", "last seen", "first seen"], cells, empty="no device was heard yet"))


@app.command()
def name(device: Device, name: Annotated[str, typer.Argument(help="The name.")], json: JsonFlag = False) -> None:
    """Give a device a name. It stays unknown until `device know`."""
    d = ask(lambda c: c.post(path_of("devices", device), {"name": name}), results.Device, json)
    say(f"[green]✓[/] {escape(d.id)} is [bold]{escape(d.name)}[/]")


@app.command()
def know(
    device: Device,
    no: Annotated[bool, typer.Option("--not", help="Mark the device as unknown.")] = False,
    json: JsonFlag = False,
) -> None:
    """Mark a device as known: its arrivals cause no alert."""
    d = ask(lambda c: c.post(path_of("devices", device), {"known": not no}), results.Device, json)
    word = "[green]known[/]" if d.known else "unknown"
    say(f"[green]✓[/] {escape(d.name or d.id)} is {word}")


@app.command()
def forget(device: Device, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Delete the record of a device; its next join counts as its first."""
    if not yes and not json:
        typer.confirm(f"Forget {device}?", abort=True)
    gone = ask(lambda c: c.delete(path_of("devices", device)), results.Id, json)
    say(f"[green]✓[/] {escape(gone.id)} is forgotten")
