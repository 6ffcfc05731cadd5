"""`edge-agent config …`: the configuration, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.api import read, results
from agent.cli import context
from agent.cli.context import JsonFlag, new_app
from agent.cli.output import escape, print_json, say, table
from agent.config import load_config, show_config

app = new_app(
    "Show and check the configuration.",
    examples=("edge-agent config show --origin", "edge-agent config check /etc/edge-agent/config.yaml"),
)


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value came from.")] = False,
    running: Annotated[
        bool, typer.Option("--running", help="Show the values of the running agent, not those of a new agent.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show every key and its value: defaults, then the file, the environment and options, the last one
    wins."""
    if running:
        from agent.cli.context import connect

        with connect() as client:
            found = client.get("/v1/config")
    else:
        found = show_config(load_config(context.chosen.config))
    rows = read(found, list[results.ConfigValue])
    if json:
        print_json(found if origin else {r.key: r.value for r in rows})
        return
    cells = [[escape(r.key), _value(r), *([_origin(r.origin)] if origin else [])] for r in rows]
    say(table(["key", "value", *(["origin"] if origin else [])], cells))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to check.")], json: JsonFlag = False
) -> None:
    """Check a configuration file; a mistake is shown with its line and the nearest name, and ends with 2."""
    config = load_config(file, environ={})
    keys = sorted(config.origins)
    if json:
        print_json({"file": str(file), "ok": True, "keys": keys})
    else:
        say(f"[green]✓[/] {escape(str(file))} is valid; it sets {', '.join(keys) or 'nothing'}")


def _value(row: results.ConfigValue) -> str:
    value = row.value
    match value:
        case bool():
            text = str(value).lower()
        case list():
            text = ", ".join(map(str, value))
        case dict():
            text = ", ".join(f"{k}={v}" for k, v in value.items())
        case _:
            text = "" if value == "." else str(value)
    text = escape(text)
    return f"[dim]{text}[/]" if row.origin == "default" else f"[bold]{text}[/]"


def _origin(origin: str) -> str:
    return f"[dim]{origin}[/]" if origin == "default" else escape(origin)
