"""`edge-agent version`."""

from __future__ import annotations

import platform

import typer

from agent import __version__
from agent.cli.context import JsonFlag, single


def version(json: JsonFlag = False) -> None:
    """Print the version of this program, of Python and of the machine."""
    facts = {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
    if json:
        from agent.cli.output import print_json

        print_json(facts)
    else:
        typer.echo(f"edge-agent {__version__} (Python {facts['python']}, {facts['machine']})")


app = single(version)
