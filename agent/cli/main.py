"""The root command: the modules of the nouns and the exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import context
from agent.cli.lazy import LazyGroup, Noun
from agent.terminal import run_app

NOUNS = (
    Noun("serve", "Run the agent on this device.", "Run"),
    Noun("status", "The state of this agent and its mesh.", "See"),
    Noun("nodes", "The nodes of the mesh.", "See"),
    Noun("events", "Recent and new events.", "See"),
    Noun("trace", "The path of an alert, hop by hop.", "See"),
    Noun("logs", "The logs of steps.", "See"),
    Noun("egress", "Every byte that left the building.", "See"),
    Noun("doctor", "Find problems of this device.", "See"),
    Noun("selftest", "Exercise the installed agent on this device.", "See"),
    Noun("ping", "Measure the way to a node.", "See"),
    Noun("netcheck", "Check ports, mDNS, clocks and links.", "See"),
    Noun("bugreport", "Pack a redacted archive for a bug report.", "See"),
    Noun("node", "Admit, label, rename and remove nodes.", "Manage"),
    Noun("upgrade", "Upgrade nodes, one at a time.", "Manage"),
    Noun("token", "Tokens that let new nodes join.", "Manage"),
    Noun("pipeline", "Apply and manage pipelines.", "Manage"),
    Noun("device", "Phones and laptops on the Wi-Fi.", "Manage"),
    Noun("source", "Logs, and the devices that send them.", "Manage"),
    Noun("camera", "Cameras of this node.", "Manage"),
    Noun("detector", "The image that names what is on photos.", "Manage"),
    Noun("sink", "The sink that alerts go to.", "Manage"),
    Noun("blob", "Bytes named by their CID.", "Manage"),
    Noun("add", "Short for blob add.", "Manage", "blob", "add_app"),
    Noun("get", "Short for blob get.", "Manage", "blob", "get_app"),
    Noun("filter", "Try filters on log lines, and check your own.", "Develop"),
    Noun("release", "Make the key of releases; sign and check releases.", "Develop"),
    Noun("config", "Show and check the configuration.", "Develop"),
    Noun("version", "The version of this program.", "Develop"),
)

EXIT_CODES = (
    "[bold]Exit codes[/bold]  0 done · 1 failed · 2 wrong use, configuration or pipeline · 3 identity · "
    "4 not reachable · 5 refused · 6 not found · 130 interrupted"
)


class Root(LazyGroup):
    """The root group with all nouns."""

    nouns = NOUNS


app = typer.Typer(
    cls=Root,
    name="edge-agent",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\n".join(
        (
            "[bold]Examples[/bold]",
            "  edge-agent serve                      start a mesh, or wait to be let in",
            "  edge-agent token create               print the line for the next device",
            "  edge-agent status --watch             everything at a glance",
            "  edge-agent pipeline apply door.yaml   run a pipeline",
            "",
            EXIT_CODES,
        )
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from agent import __version__

        typer.echo(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def root(
    socket: Annotated[
        str | None, typer.Option("--socket", metavar="PATH", help="The agent's unix socket; else EDGE_AGENT_SOCKET.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Configuration file; else EDGE_AGENT_CONFIG.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A masterless mesh of agents for a building full of devices: pipelines that run where the data is."""
    context.chosen.socket = socket
    context.chosen.config = config


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; errors are printed as message, hint and code, never as a traceback."""
    run_app("edge-agent", app, arguments)
