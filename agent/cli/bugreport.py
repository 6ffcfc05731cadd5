"""`edge-agent bugreport`: a redacted archive for a bug report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agent import __version__
from agent.cli import context
from agent.cli.bugreport_archive import Redaction, write_archive
from agent.cli.bugreport_parts import agent_log, host_facts
from agent.cli.context import JsonFlag, connect, single
from agent.cli.doctor_checks import look
from agent.cli.output import escape, print_json, say, size
from agent.errors import ConfigError, EdgeError

ASKED = {
    "status": "/v1/status",
    "checks": "/v1/checks",
    "config": "/v1/config",
    "nodes": "/v1/nodes",
    "netcheck": "/v1/netcheck",
    "pipelines": "/v1/pipelines",
    "devices": "/v1/devices",
    "cameras": "/v1/cameras",
    "sink": "/v1/sink",
}
"""The answers of the local API that go into the archive, by the name of their file."""
EVENTS = 200
"""Recent events that go into it."""


class Report(msgspec.Struct):
    """The archive that was written; `missing` says why a part is not in it."""

    file: str
    bytes: int
    parts: list[str]
    missing: dict[str, str]


def bugreport(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Archive to write; default: one in this folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: JsonFlag = False,
) -> None:
    """Pack the state of this node, its checks and its log into one archive (tar.gz) for a bug report.

    Works with and without a running agent. The archive holds no keys, tokens, passwords, photos or step logs. MAC addresses
    become device-1, device-2, …, the names of devices too, and public IP addresses are hidden; names of nodes, cameras and
    pipelines and private addresses stay, since a problem cannot be found without them. Look at it before you send it:
    tar xzf FILE. The file can be read by its owner alone.
    """
    file = output or Path(f"edge-agent-bugreport-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists", hint="choose another --output, or add --force")
    parts, missing = _gather()
    packed = write_archive(file, parts, Redaction(_names(parts)))
    report = Report(str(file), packed, sorted(parts), missing)
    if json:
        print_json(msgspec.to_builtins(report))
        return
    say(f"[green]✓[/] {escape(report.file)}, {size(packed)}: {', '.join(report.parts)}")
    for part, why in missing.items():
        say(f"[yellow]![/] without {part}: {escape(why)}")
    say(f"[dim]look at it before you send it: tar xzf {escape(report.file)}[/]")


def _gather() -> tuple[dict[str, Any], dict[str, str]]:
    """The parts by name, and why others are missing."""
    parts: dict[str, Any] = {"host": host_facts() | {"edge-agent": __version__}}
    missing: dict[str, str] = {}
    named = context.chosen.socket or os.environ.get("EDGE_AGENT_SOCKET")
    parts["doctor"] = msgspec.to_builtins(list(look(context.chosen.config, Path(named) if named else None)))
    for name, path in {**ASKED, "events": "/v1/events"}.items():
        try:
            with connect(timeout=60.0) as client:
                rows = name == "events"  # a stream: one JSON document per line
                parts[name] = list(client.stream(path, limit=EVENTS)) if rows else client.get(path)
        except EdgeError as e:
            missing[name] = e.message
    log = agent_log()
    if isinstance(log, str):
        parts["agent.log"] = log
    else:
        missing["agent.log"] = log.why
    return parts, missing


def _names(parts: dict[str, Any]) -> dict[str, str]:
    """The names that people gave to devices, and the MAC of each."""
    return {d["name"]: d["id"] for d in parts.get("devices", []) if d.get("name")}


app = single(bugreport, examples=("edge-agent bugreport", "sudo edge-agent bugreport -o report.tar.gz"))
