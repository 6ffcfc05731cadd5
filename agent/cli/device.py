"""`edge-agent device …`: phones and laptops on the Wi-Fi."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of
from agent.cli.context import JsonFlag, YesFlag, connect, new_app
from agent.cli.output import ago, console, dot, escape, listing, print_json, show

app = new_app(
    "Phones and laptops on the Wi-Fi: who is here, and whom the house knows.",
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
        rows = client.get("/v1/devices")
    if json:
        print_json(rows)
        return
    cells = [
        [
            dot(True if d.get("present") else None),
            f"[bold]{escape(d.get('name') or '-')}[/]",
            "[green]known[/]" if d.get("known") else "unknown",
            escape(d["id"]) + (" [dim]private[/]" if d.get("private") else ""),
            escape(d.get("node") or ""),
            ago(d.get("last_seen")),
            ago(d.get("first_seen")),
        ]
        for d in rows
    ]
    console().print(
        listing(["", "name", "", "id", "at", "last seen", "first seen"], cells, empty="no device was heard yet")
    )


@app.command()
def name(device: Device, name: Annotated[str, typer.Argument(help="What to call it.")], json: JsonFlag = False) -> None:
    """Give a device a name. It stays unknown until `device know`."""
    with connect() as client:
        d = client.post(path_of("devices", device), {"name": name})
    show(d, json, f"[green]✓[/] {escape(d['id'])} is [bold]{escape(d.get('name') or '')}[/]")


@app.command()
def know(
    device: Device,
    no: Annotated[bool, typer.Option("--not", help="The house does not know it any more.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say that the house knows a device: its arrivals cause no alert."""
    with connect() as client:
        d = client.post(path_of("devices", device), {"known": not no})
    word = "[green]known[/]" if d.get("known") else "unknown"
    show(d, json, f"[green]✓[/] {escape(d.get('name') or d['id'])} is {word}")


@app.command()
def forget(device: Device, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Delete what is known about a device; its next join is its first."""
    if not yes and not json:
        typer.confirm(f"Forget {device}?", abort=True)
    with connect() as client:
        d = client.delete(path_of("devices", device))
    show(d, json, f"[green]✓[/] {escape(d['id'])} is forgotten")
