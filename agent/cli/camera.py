"""`edge-agent camera …`: cameras of this node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.api import path_of, read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, ask, connect, new_app, read_secret
from agent.cli.output import dot, escape, listing, print_json, say, size
from agent.errors import ConfigError

app = new_app(
    "Cameras of this node.",
    examples=(
        "edge-agent camera list",
        "edge-agent camera add door /dev/video0 --rotate 180",
        "edge-agent camera add porch -              asks for rtsp://user:password@host/stream",
        "edge-agent camera test door -o door.jpg",
    ),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the camera.", autocompletion=completion.cameras)]
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the cameras of this node, and devices that could be added."""
    found = ask(lambda c: c.get("/v1/cameras"), list[results.Camera], json)
    cells = [
        [
            dot(c.ok if c.added else None),
            f"[bold]{escape(c.name)}[/]",
            escape(c.kind),
            escape(c.source),
            escape(c.text) if c.added else "[dim]not added[/]",
        ]
        for c in found
    ]
    say(listing(["", "camera", "kind", "source", ""], cells, empty="no camera; edge-agent camera add NAME SOURCE"))


@app.command()
def add(
    name: Name,
    source: Annotated[
        str, typer.Argument(help="/dev/videoN, rtsp://, http(s)://, file:…; '-' asks for it, @FILE reads it.")
    ],
    *,
    rotate: Annotated[int, typer.Option("--rotate", help="0, 90, 180 or 270 degrees clockwise.")] = 0,
    crop: Annotated[str | None, typer.Option("--crop", metavar="X,Y,W,H", help="Part of the picture, in 0..1.")] = None,
    mask: Annotated[
        list[str] | None, typer.Option("--mask", metavar="X,Y,W,H", help="Blacken a part; repeatable.")
    ] = None,
    warm: Annotated[bool, typer.Option("--warm", help="Keep it open, so that a photo takes no start-up time.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Accept any TLS certificate of the camera.")] = False,
    json: JsonFlag = False,
) -> None:
    """Add a camera to this node. A source with a password is never taken from the command line."""
    if _PASSWORD.search(source):
        raise ConfigError(
            "a password on the command line can be seen by everybody on this machine",
            hint=f"edge-agent camera add {name} -   asks for the source, @FILE reads it",
        )
    if source == "-" or source.startswith("@"):
        source = read_secret(source, "Source")
    body: dict[str, Any] = {"name": name, "source": source, "rotate": rotate, "warm": warm, "insecure": insecure}
    body["masks"] = [_box(m) for m in mask or []]
    made = ask(lambda c: c.post("/v1/cameras", body | ({"crop": _box(crop)} if crop else {})), results.Camera, json)
    say(f"[green]✓[/] [bold]{escape(made.name)}[/] {escape(made.kind)} {escape(made.source)}")


@app.command()
def remove(name: Name, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a camera from this node."""
    if not yes and not json:
        typer.confirm(f"Remove the camera {name}?", abort=True)
    gone = ask(lambda c: c.delete(path_of("cameras", name)), results.Name, json)
    say(f"[green]✓[/] {escape(gone.name)} is removed")


@app.command("test")
def try_(
    name: Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the photo here.")] = None,
    json: JsonFlag = False,
) -> None:
    """Take one photo now and show how long it took."""
    with connect() as client:
        found = client.post(path_of("cameras", name, "test"))
    c = read(found, results.CameraTest)
    shown = {k: v for k, v in found.items() if k != "jpeg"}
    if output is not None:
        output.write_bytes(c.jpeg)
        shown["file"] = str(output)
    text = f"{c.width}×{c.height}, {size(c.size)}, in {c.ms:.0f} ms"
    if json:
        print_json(shown)
    else:
        say(f"[green]✓[/] {escape(c.name)}: {text}" + (f" → {escape(str(output))}" if output else ""))


def _box(text: str) -> list[float]:
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(0 <= v <= 1 for v in values):
        raise ConfigError(
            f"{text!r} is not a part of a picture", hint="four numbers in 0..1: X,Y,W,H, like 0,0.5,1,0.5"
        )
    return values
