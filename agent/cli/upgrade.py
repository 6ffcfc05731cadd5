"""`edge-agent upgrade`: upgrade nodes, one at a time."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from agent.api import Client, path_of, read, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, connect, single
from agent.cli.output import escape, listing, print_json, say, size
from agent.errors import ConfigError, Unreachable

LOOK = 0.5


def upgrade(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE]...", help="Names or ids, in this order.", autocompletion=completion.nodes),
    ] = None,
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="Every live node: operators last, this one at the very end.")
    ] = False,
    wait: Annotated[
        str,
        typer.Option("--wait", metavar="TIME", help="How long a node may take to come back after its installation."),
    ] = "10m",
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Upgrade nodes to the release that this operator holds, one at a time, and stop at the first that fails.

    Without a node it shows the release and the version of each node. The first node is the canary: the next one follows only
    when it is back in the mesh with the new version. A node checks the release with the key that it pinned at its
    installation, fetches it over the mesh, runs its installer, and goes back by itself where the new version does not come
    into the mesh. `edge-agent release import` brings a release here. With --json: one JSON document for each change.
    """
    from agent.config import parse_duration

    patience = parse_duration(wait)
    if nodes and all_:
        raise ConfigError("both --all and names were given", hint="give one of them")
    with connect() as client:
        release = read(client.get("/v1/release"), results.ReleaseState)
    chosen = [_find(release, name) for name in nodes] if nodes else release.nodes if all_ else []
    if not chosen:
        _show(release, json)
        return
    todo = [n for n in chosen if not n.current]
    if not yes and not json and todo:
        typer.confirm(f"Upgrade {', '.join(n.node for n in todo)} to version {release.version}?", abort=True)
    for n in chosen:
        ended = _one(n, patience, json) if not n.current else _current(n, release, json)
        if ended.state != "done":
            raise typer.Exit(1)


def _find(release: results.ReleaseState, name: str) -> results.NodeVersion:
    found = next((n for n in release.nodes if name in (n.node, n.id)), None)
    if found is None:
        live = ", ".join(n.node for n in release.nodes)
        raise ConfigError(f"no live node is called {name!r}", hint=f"there are {live}")
    return found


def _current(n: results.NodeVersion, release: results.ReleaseState, json: bool) -> results.UpgradeState:
    state = results.UpgradeState(n.node, n.id, "done", release.version, n.version, "it runs this version already")
    _tell(state, json)
    return state


def _one(n: results.NodeVersion, patience: float, json: bool) -> results.UpgradeState:
    """Upgrade one node and follow it to its end. This agent itself may start again meanwhile."""
    with connect() as client:
        state = read(client.post(path_of("nodes", n.id, "upgrade"), {"wait": patience}), results.UpgradeState)
    told = ""
    away: float | None = None
    while True:
        shown = f"{state.state} {state.text} {state.done}"
        if shown != told and state.state != "idle":
            told = shown
            _tell(state, json)
        if state.state in ("done", "failed"):
            return state
        time.sleep(LOOK)
        try:
            with connect() as client:
                state = _ask(client, n.id)
            if state.state == "idle":  # it started again, and its installer has not ended
                raise Unreachable(
                    f"{n.node} says nothing about its installation",
                    hint="edge-agent upgrade shows its version; look at that machine's log",
                    code="upgrade.lost",
                )
            away = None
        except Unreachable:
            away = time.monotonic() if away is None else away
            if time.monotonic() - away > patience:
                raise


def _ask(client: Client, node: str) -> results.UpgradeState:
    return read(client.get(path_of("nodes", node, "upgrade")), results.UpgradeState)


def _tell(state: results.UpgradeState, json: bool) -> None:
    if json:
        import msgspec

        print_json(msgspec.to_builtins(state), line=True)
        return
    mark = {"done": "[green]✓[/]", "failed": "[bold red]✗[/]"}.get(state.state, "[dim]…[/]")
    part = f" {size(state.done)} of {size(state.size)}" if state.state == "fetching" and state.size else ""
    text = f"  [dim]{escape(state.text)}[/]" if state.text else ""
    say(f"{mark} [bold]{escape(state.node)}[/] {state.state}{part}  {escape(state.version)}{text}")
    if state.hint:
        say(f"  [dim]→ {escape(state.hint)}[/]")


def _show(release: results.ReleaseState, json: bool) -> None:
    if json:
        import msgspec

        print_json(msgspec.to_builtins(release))
        return
    say(
        f"release [bold]{escape(release.version)}[/] ({escape(release.channel)}), protocol {release.protocol}, {release.released}"
    )
    rows = [[f"[bold]{escape(n.node)}[/]", escape(n.version), "current" if n.current else ""] for n in release.nodes]
    say(listing(["node", "version", ""], rows, empty="no node is live"))
    if not all(n.current for n in release.nodes):
        say("[dim]→ edge-agent upgrade --all, or edge-agent upgrade NODE for the first one[/]")


app = single(
    upgrade,
    examples=(
        "edge-agent upgrade                     the release here, and each node's version",
        "edge-agent upgrade porch               one node first",
        "edge-agent upgrade --all --yes",
    ),
)
