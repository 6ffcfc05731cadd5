"""`edge-agent blob …`, `add` and `get`: bytes named by their CID."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.api import path_of, results
from agent.cli.context import JsonFlag, ask, connect, new_app, single
from agent.cli.output import escape, listing, say, size
from agent.errors import ConfigError
from agent.files import replacing

app = new_app(
    "Bytes named by their CID.", examples=("edge-agent add photo.jpg", "edge-agent get bafkrei… -o photo.jpg")
)


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the blobs on this node."""
    here = ask(lambda c: c.get("/v1/blobs"), results.BlobList, json)
    cells = [[escape(b.cid), size(b.size), "pinned" if b.pinned else ""] for b in here.blobs]
    say(listing(["cid", "size", ""], cells, empty="no blob is on this node", right=("size",)))
    say(f"[dim]{here.count}, {size(here.bytes)} of {size(here.quota)}[/]")


@app.command()
def add(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="File to add; '-' is stdin.")], json: JsonFlag = False
) -> None:
    """Add a file's bytes to this node's blobs and print the CID."""
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
            stored = ask(lambda c: c.upload("/v1/blobs", source), results.StoredBlob, json, timeout=600)
    except OSError as e:
        raise ConfigError(f"{file} cannot be read: {e.strerror}", hint="check the path") from None
    typer.echo(stored.cid)


@app.command()
def get(
    cid: Annotated[str, typer.Argument(metavar="CID")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|-", help="File to write; default: stdout.")
    ] = "-",
) -> None:
    """Write a blob's bytes, fetched and verified from any node that holds it."""
    with connect(timeout=600) as client:
        if output == "-":
            if sys.stdout.isatty():
                raise ConfigError("a blob is not written to a terminal", hint="name a file with -o, or use a pipe")
            client.download(path_of("blobs", cid), sys.stdout.buffer)
            return
        target = Path(output)
        try:
            with replacing(target) as out:
                client.download(path_of("blobs", cid), out)
        except OSError as e:
            raise ConfigError(f"{target} cannot be written: {e.strerror}", hint="check the folder") from None


add_app = single(add, examples=("edge-agent add photo.jpg", "tar c . | edge-agent add -"))
get_app = single(get, examples=("edge-agent get bafkrei… -o photo.jpg",))
