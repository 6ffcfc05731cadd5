"""`edge-agent device …`: phones and laptops on the Wi-Fi."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, read, results
from agent.cli.context import JsonFlag, YesFlag, connect, new_app
from agent.cli.output import ago, console, dot, escape, listing, print_json, show

app = new_app(
    "Phones and laptops on the Wi-Fi: which are here, and which are known.",
    examples=(
        "edge-agent device list",
        'edge-agent device name 3c:22:fb:00:00:01 "Ada\'s phone"',
        "edge-agent device know phone",
    ),
)

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Name, MAC or id, see device list.")]


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List devices that were heard: those present first."""
    with connect() as client:
        found = client.get("/v1/devices")
    if json:
        print_json(found)
        return
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
        for d in read(found, list[results.Device])
    ]
    console().print(
        listing(["", "name", "", "id", "at", "last seen", "first seen"], cells, empty="no device was heard yet")
    )


@app.command()
def name(device: Device, name: Annotated[str, typer.Argument(help="The name.")], json: JsonFlag = False) -> None:
    """Give a device a name. It stays unknown until `device know`."""
    with connect() as client:
        found = client.post(path_of("devices", device), {"name": name})
    d = read(found, results.Device)
    show(found, json, f"[green]✓[/] {escape(d.id)} is [bold]{escape(d.name)}[/]")


@app.command()
def know(
    device: Device,
    no: Annotated[bool, typer.Option("--not", help="It is not known any more.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say that a device is known: its arrivals cause no alert."""
    with connect() as client:
        found = client.post(path_of("devices", device), {"known": not no})
    d = read(found, results.Device)
    word = "[green]known[/]" if d.known else "unknown"
    show(found, json, f"[green]✓[/] {escape(d.name or d.id)} is {word}")


@app.command()
def forget(device: Device, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Delete what is known about a device; its next join is its first."""
    if not yes and not json:
        typer.confirm(f"Forget {device}?", abort=True)
    with connect() as client:
        found = client.delete(path_of("devices", device))
    show(found, json, f"[green]✓[/] {escape(read(found, results.Id).id)} is forgotten")
