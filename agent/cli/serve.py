"""`edge-agent serve`: run the agent in the foreground."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import context
from agent.cli.context import parse_labels, read_secret, single
from agent.errors import ConfigError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]+):\d{1,5}\Z")
_HOST = re.compile(r"(?!edge\d)(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+){1,8}|localhost)\Z")
"""A host without a port; not a token, which has a dot too."""


def serve(
    *,
    join: Annotated[
        str | None,
        typer.Option(
            "--join",
            metavar="TOKEN|-|@FILE|HOST:PORT",
            help="Join a mesh with a token (a word, from stdin, from a file), or link to a known member's address.",
        ),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new mesh even if another mesh is found.")] = False,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Friendly name of this node.")] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="DIR", help="Folder of the state.")] = None,
    socket: Annotated[str | None, typer.Option("--socket", metavar="PATH", help="Unix socket of the API.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label to ask for; repeatable.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="TCP port of the mesh.")] = None,
    enrol_port: Annotated[int | None, typer.Option("--enrol-port", help="TCP port where new nodes join.")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
) -> None:
    """Run the agent on this device until it is stopped.

    Without state it searches three seconds for a mesh. If it finds none, it makes one and prints the line
    for the next device. If it finds one, it shows a short code and waits until an operator admits it. With
    state it starts as the same node again.
    """
    from msgspec.structs import replace

    from agent.config import Config, load_config
    from agent.health import setup_logging

    token, address = _join(join)
    overrides = {
        "name": name,
        "state": state,
        "run": context.chosen.socket if socket is None else socket,
        "labels": parse_labels(label) if label else None,
        "mesh.port": port,
        "mesh.enrol_port": enrol_port,
        "log.level": log_level,
    }

    def read() -> Config:
        settings = load_config(config or context.chosen.config, overrides=overrides)
        if address:
            settings = replace(settings, mesh=replace(settings.mesh, join=[*settings.mesh.join, address]))
        return settings

    settings = read()
    setup_logging(settings.log)
    from agent.api import serve_api
    from agent.node import run_agent

    raise typer.Exit(asyncio.run(run_agent(settings, join=token, new=new, out=out, api=serve_api, reread=read)))


def out(text: str) -> None:
    """Print a line for the user. Tokens appear only on a terminal: any other output may be a log."""
    from agent.health import redact

    shown = text if sys.stdout.isatty() else redact(text)
    print(shown if shown == text else f"{shown}   (edge-agent token create prints it in full)", flush=True)


def _join(join: str | None) -> tuple[str | None, str | None]:
    if join is None:
        return None, None
    if join == "-" or join.startswith("@"):
        return read_secret(join, "Token"), None
    if not join.strip():
        raise ConfigError("--join is empty", hint="edge-agent token create, on an operator, prints the whole command")
    if _ADDRESS.match(join):
        return None, join
    if _HOST.match(join):
        raise ConfigError(f"--join {join} has no port", hint=f"write the port of that member's mesh: {join}:7946")
    return join, None


app = single(
    serve,
    examples=(
        "edge-agent serve",
        "edge-agent serve --join edge1.…          what the operator's device printed",
        "edge-agent serve --join @/run/token      from a file that only root can read",
        "edge-agent serve --join 10.0.0.5:7946    a member that mDNS does not find",
    ),
)
