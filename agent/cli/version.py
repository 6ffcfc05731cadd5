"""`edge-agent version`."""

from __future__ import annotations

import platform

import msgspec
import typer

from agent.cli.context import JsonFlag, single
from agent.installed import installed


def version(json: JsonFlag = False) -> None:
    """Print the version of this program, its protocol, its kind of installation, and the machine."""
    this, python, machine = installed(), platform.python_version(), platform.machine()
    if json:
        from agent.cli.output import print_json

        print_json({**msgspec.to_builtins(this), "python": python, "machine": machine})
        return
    kind = f"frozen for {this.arch}{f', {this.variant}' if this.variant else ''}, " if this.frozen else ""
    typer.echo(f"edge-agent {this.version} (protocol {this.protocol}, {kind}Python {python}, {machine})")


app = single(version)
