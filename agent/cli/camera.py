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
from agent.cli.status_view import camera_fault
from agent.errors import ConfigError

app = new_app(
    "Cameras of this node.",
    examples=(
        "edge-agent camera list",
        "edge-agent camera add door /dev/video0 --rotate 180",
        "edge-agent camera add porch -              asks for rtsp://user:password@host/stream",
        "edge-agent camera add porch @source --replace --warm",
        "edge-agent camera test door -o door.jpg",
    ),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the camera.", autocompletion=completion.cameras)]
_PASSWORD = re.compile(r"://[^/@\s:]*:(?!\d{1,5}(/|$))\S+@")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the cameras of this node, and devices that could be added."""
    found = ask(lambda c: c.get("/v1/cameras"), list[results.Camera], json)
    cells = [
        [
            dot(c.ok if c.added and (c.worked or not c.ok) else None),
            f"[bold]{escape(c.name)}[/]",
            escape(c.kind),
            escape(c.source),
            _state(c),
        ]
        for c in found
    ]
    say(listing(["", "camera", "kind", "source", ""], cells, empty="no camera; edge-agent camera add NAME SOURCE"))


def _state(c: results.Camera) -> str:
    if not c.added:
        return "[dim]not added[/]"
    return escape(camera_fault(c.name, c.text)) if c.text or c.worked else "[dim]not used yet[/]"


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
        list[str] | None,
        typer.Option(
            "--mask", metavar="X,Y,W,H|X,Y,X,Y,X,Y…", help="Blacken a box, or a polygon by its corners; repeatable."
        ),
    ] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(
            "--zone", metavar="NAME=X,Y,X,Y,X,Y…", help="A polygon of the photo for inside(box, 'NAME'); repeatable."
        ),
    ] = None,
    min_area: Annotated[
        float,
        typer.Option(
            "--min-area", metavar="SHARE", min=0, max=1, help="Smallest box, as a share of the photo, for fits(box)."
        ),
    ] = 0,
    max_area: Annotated[
        float, typer.Option("--max-area", metavar="SHARE", min=0, max=1, help="Largest box for fits(box).")
    ] = 1,
    warm: Annotated[bool, typer.Option("--warm", help="Keep it open, so that a photo takes no start-up time.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Accept any TLS certificate of the camera.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a camera of this name.")] = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Take a photo at once.")] = True,
    json: JsonFlag = False,
) -> None:
    """Add a camera to this node, and test it. A source with a password is never taken from the command line.

    A camera that fails its test stays added: remove it, or add it again with --replace. Vendors' addresses: docs/cameras.md.
    """
    if _PASSWORD.search(source):
        raise ConfigError(
            "a password on the command line can be seen by everybody on this machine",
            hint=f"edge-agent camera add {name} -   asks for the source, @FILE reads it",
        )
    if rotate not in (0, 90, 180, 270):
        raise ConfigError(f"--rotate {rotate} is not possible", hint="0, 90, 180 or 270 degrees clockwise")
    if source == "-" or source.startswith("@"):
        source = read_secret(source, "Source")
    body: dict[str, Any] = {"name": name, "source": source, "rotate": rotate, "warm": warm, "insecure": insecure}
    masks = [_numbers(m) for m in mask or []]
    body["masks"] = [m for m in masks if len(m) == 4]
    body["hidden"] = [_polygon(m) for m in masks if len(m) != 4]
    body["zones"] = dict(_zone(z) for z in zone or [])
    body |= {k: v for k, v, default in (("min_area", min_area, 0), ("max_area", max_area, 1)) if v != default}
    body |= ({"crop": _box(crop)} if crop else {}) | ({"replace": True} if replace else {})
    with connect() as client:
        found = client.post("/v1/cameras", body)
        made = read(found, results.Camera)
        if not json:
            say(f"[green]✓[/] [bold]{escape(made.name)}[/] {escape(made.kind)} {escape(made.source)}")
        tested = None
        try:
            tested = client.post(path_of("cameras", made.name, "test")) if test else None
        finally:
            if json:
                print_json(found | ({"test": _without_photo(tested)} if tested else {}))
    if tested and not json:
        _say_test(read(tested, results.CameraTest), None)


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
    """Take one photo now, give it to the WASM steps that applied pipelines have behind the camera, and show the times."""
    with connect() as client:
        found = client.post(path_of("cameras", name, "test"))
    c = read(found, results.CameraTest)
    if output is not None:
        output.write_bytes(c.jpeg)
    if json:
        print_json(_without_photo(found) | ({"file": str(output)} if output is not None else {}))
    else:
        _say_test(c, output)


def _without_photo(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if k != "jpeg"}


def _say_test(c: results.CameraTest, output: Path | None) -> None:
    text = f"{c.width}×{c.height}, {size(c.size)}, in {c.ms:.0f} ms"
    say(f"[green]✓[/] {escape(c.name)}: {text}" + (f" → {escape(str(output))}" if output else ""))
    for p in c.passed:
        made = f"{p.width}×{p.height}, {size(p.size)}, " if p.size else ""
        say(f"[green]✓[/] {escape(p.step)}: {made}in {p.ms:.0f} ms")
    if not c.passed:
        say("[dim]no applied pipeline has a WASM step behind this camera: the photo was not rescaled[/]")


def _numbers(text: str) -> list[float]:
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        values = []
    if len(values) < 4 or not all(0 <= v <= 1 for v in values):
        raise ConfigError(f"{text!r} is not a part of a picture", hint="numbers in 0..1: X,Y,W,H, like 0,0.5,1,0.5")
    return values


def _box(text: str) -> list[float]:
    values = _numbers(text)
    if len(values) != 4:
        raise ConfigError(f"{text!r} is not a box", hint="four numbers in 0..1: X,Y,W,H, like 0,0.5,1,0.5")
    return values


def _polygon(values: list[float]) -> list[tuple[float, float]]:
    if len(values) < 6 or len(values) % 2:
        raise ConfigError(
            f"{','.join(f'{v:g}' for v in values)} is not a polygon",
            hint="three corners or more: X,Y,X,Y,X,Y, like 0,0,1,0,0,1",
        )
    return list(zip(values[::2], values[1::2], strict=True))


def _zone(text: str) -> tuple[str, list[tuple[float, float]]]:
    name, found, corners = text.partition("=")
    if not found or not name:
        raise ConfigError(f"{text!r} is not a zone", hint="write it like --zone door=0.2,0.4,0.8,0.4,0.8,1,0.2,1")
    return name, _polygon(_numbers(corners))
