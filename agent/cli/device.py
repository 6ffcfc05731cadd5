"""`edge-agent device …`: phones and laptops on the Wi-Fi."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import path_of, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, ask, new_app
from agent.cli.output import ago, dot, escape, listing, say, since

app = new_app(
    "Phones and laptops on the Wi-Fi: which are here, and which are known.",
    examples=(
        "edge-agent device list",
        'edge-agent device name 3c:22:fb:00:00:01 "Ada\'s phone"',
        "edge-agent device know phone",
        "edge-agent device merge phone da:a1:19:00:00:07",
        "edge-agent device learn --stop",
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
            _addresses(d),
            escape(d.access_point if d.access_point in ("", d.node) else f"{d.access_point} ({d.node})")
            or escape(d.node),
            ago(d.last_seen),
            ago(d.first_seen),
        ]
        for d in found
    ]
    say(listing(["", "name", "", "id", "at", "last seen", "first seen"], cells, empty="no device was heard yet"))


def _addresses(d: results.Device) -> str:
    more = f" [dim]+{len(d.addresses)}[/]" if d.addresses else ""
    return escape(d.id) + more + (" [dim]private[/]" if d.private else "")


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
    """Mark a device as known: its arrivals cause no alert.

    A name that several devices have is refused: give the MAC, or merge them.
    """
    d = ask(lambda c: c.post(path_of("devices", device), {"known": not no}), results.Device, json)
    word = "[green]known[/]" if d.known else "unknown"
    say(f"[green]✓[/] {escape(d.name or d.id)} is {word}")


@app.command()
def forget(device: Device, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Delete the record of a device; its next sign of life counts as its first."""
    if not yes and not json:
        typer.confirm(f"Forget {device}?", abort=True)
    gone = ask(lambda c: c.delete(path_of("devices", device)), results.Id, json)
    say(f"[green]✓[/] {escape(gone.id)} is forgotten")


@app.command()
def merge(
    device: Device,
    other: Annotated[
        str,
        typer.Argument(metavar="OTHER", help="Name or MAC of the other address.", autocompletion=completion.devices),
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Make OTHER a separate device again.")] = False,
    json: JsonFlag = False,
) -> None:
    """Make OTHER one of the addresses of DEVICE: phones use a private address for each network, some for each day.

    Both share one record, DEVICE's name (else OTHER's), and are known if either was. A sign of life of one address is a sign of
    the device.

    edge-agent device merge phone da:a1:19:00:00:07
    """
    d = ask(
        lambda c: c.post(path_of("devices", device) + "/merge", {"other": other, "undo": undo}), results.Device, json
    )
    words = f"has the addresses {', '.join([d.id, *d.addresses])}" if d.addresses else "has no further address"
    say(f"[green]✓[/] {escape(d.name or d.id)} {escape(words)}")


@app.command()
def learn(
    stop: Annotated[bool, typer.Option("--stop", help="End it: unknown devices arrive from now on.")] = False,
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="Only this pipeline.", autocompletion=completion.pipelines)
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Show how long presence steps still learn, or end it.

    A new presence step has met no device yet. For `learn` (24h by default, running time) it meets devices without an alert: each
    is a `device.met` in `edge-agent events`, and no step takes it. Learning marks no device as known.

    edge-agent device learn --stop
    """
    if stop:
        rows = ask(lambda c: c.post("/v1/learning", {"pipeline": pipeline}), list[results.Learning], json)
    else:
        rows = ask(lambda c: c.get("/v1/learning"), list[results.Learning], json)
    rows = [r for r in rows if pipeline in ("", r.pipeline)]
    cells = [
        [
            escape(f"{r.pipeline}/{r.step}"),
            f"[yellow]learns for another {since(r.left_s)}[/]" if r.left_s else "has learned",
        ]
        for r in rows
    ]
    say(listing(["step", ""], cells, empty="no pipeline has a presence step"))
