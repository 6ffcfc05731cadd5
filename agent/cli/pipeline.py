"""`edge-agent pipeline …`: apply pipelines and watch over them."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.api import Client, path_of, read, results
from agent.cli.context import JsonFlag, YesFlag, connect, new_app
from agent.cli.output import ago, console, escape, listing, print_json, show, since, table
from agent.cli.status_view import view_pipeline
from agent.errors import ConfigError

app = new_app(
    "Apply pipelines and watch over them.",
    examples=(
        "edge-agent pipeline apply door.yaml",
        "edge-agent pipeline diff door.yaml",
        "edge-agent pipeline pause person-at-the-door --for 2h",
        'edge-agent pipeline trigger person-at-the-door --data \'{"device": {"known": false}}\'',
    ),
)

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of the pipeline.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline's YAML file.")]
APPLY_TIMEOUT = 600.0
MOST_FILE = 32 << 20


@app.command()
def apply(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Check a pipeline completely, sign it and run it. Says what it replaced, and which nodes run each step.

    Modules and images are replaced by their hashes before signing: a tag or path never decides what runs.
    """
    with connect(timeout=APPLY_TIMEOUT) as client:
        found = client.post_packed("/v1/pipelines", _source(client, file) | {"dry_run": dry_run})
    if json:
        print_json(found)
        return
    p = read(found, results.AppliedPipeline)
    _applied(p, "would be applied" if dry_run else "is applied" if p.changed else "is as it was")


@app.command()
def diff(file: File, json: JsonFlag = False) -> None:
    """Show what applying a file would change."""
    with connect(timeout=APPLY_TIMEOUT) as client:
        found = client.post_packed("/v1/pipeline-diff", _source(client, file))
    if json:
        print_json(found)
        return
    d = read(found, results.PipelineDiff)
    for line in d.diff.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "default")
        console().print(f"[{colour}]{escape(line)}[/]")
    if not d.diff:
        console().print("[dim]no difference[/]")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the applied pipelines."""
    with connect() as client:
        found = client.get("/v1/pipelines")
    if json:
        print_json(found)
        return
    cells = [
        [
            f"[bold]{escape(p.name)}[/]",
            escape(p.version[:8]),
            str(p.steps),
            str(p.open),
            _paused(p.paused_s) or "running",
            f"{ago(p.applied)} by {escape(p.signer)}",
        ]
        for p in read(found, list[results.ListedPipeline])
    ]
    columns = ["pipeline", "version", "steps", "open", "state", "applied"]
    empty = "no pipeline is applied; edge-agent pipeline apply FILE"
    console().print(listing(columns, cells, empty=empty, right=("steps", "open")))


@app.command()
def describe(
    name: Name,
    text: Annotated[bool, typer.Option("--text", help="Print the YAML as applied.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show a pipeline's steps with their queues and ends, or with --text its YAML."""
    with connect() as client:
        found = client.get(path_of("pipelines", name))
    if json:
        print_json(found)
        return
    p = read(found, results.DescribedPipeline)
    if text:
        sys.stdout.write(p.text)
    else:
        console().print(view_pipeline(p))
        console().print(f"[dim]applied {ago(p.applied)} by {escape(p.signer)}[/]")


@app.command()
def history(name: Name, json: JsonFlag = False) -> None:
    """List the versions of a pipeline, newest first."""
    with connect() as client:
        found = client.get(path_of("pipelines", name, "history"))
    if json:
        print_json(found)
        return
    cells = [
        ["[green]●[/]" if h.current else "", escape(h.version), str(h.counter), ago(h.applied), escape(h.signer)]
        for h in read(found, list[results.PipelineVersion])
    ]
    console().print(table(["", "version", "no", "applied", "by"], cells))


@app.command()
def rollback(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version to return to; default: the one before.")] = "",
    json: JsonFlag = False,
) -> None:
    """Apply an earlier version again."""
    with connect(timeout=APPLY_TIMEOUT) as client:
        found = client.post(path_of("pipelines", name, "rollback"), {"version": version})
    if json:
        print_json(found)
    else:
        _applied(read(found, results.AppliedPipeline), "is applied again")


@app.command()
def pause(
    name: Name,
    for_: Annotated[str, typer.Option("--for", help="How long; default: until resumed.")] = "0s",
    json: JsonFlag = False,
) -> None:
    """Stop taking new events into a pipeline, on all nodes."""
    from agent.config import parse_duration

    with connect() as client:
        found = client.post(path_of("pipelines", name, "pause"), {"seconds": parse_duration(for_)})
    p = read(found, results.Paused)
    show(found, json, f"[yellow]‖[/] {escape(p.name)} is {_paused(p.paused_s)}")


@app.command()
def resume(name: Name, json: JsonFlag = False) -> None:
    """Let a paused pipeline go on."""
    with connect() as client:
        found = client.post(path_of("pipelines", name, "resume"))
    show(found, json, f"[green]✓[/] {escape(read(found, results.Name).name)} goes on")


@app.command()
def trigger(
    name: Name,
    step: Annotated[str, typer.Option("--step", help="Step that gets the event; default: the first steps.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Type of the event.")] = "edge.trigger",
    data: Annotated[str, typer.Option("--data", metavar="JSON|@FILE|-", help="Data of the event.")] = "{}",
    json: JsonFlag = False,
) -> None:
    """Put an event into a pipeline by hand."""
    value = _json(data)
    if not isinstance(value, dict):
        raise ConfigError("the data must be a JSON object", hint='like {"camera": "door"}')
    with connect() as client:
        found = client.post(path_of("pipelines", name, "trigger"), {"step": step, "type": kind, "data": value})
    ident = escape(read(found, results.Triggered).id)
    show(found, json, f"[green]✓[/] event {ident}  [dim]edge-agent trace {ident}[/]")


@app.command("test")
def try_(
    file: File,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The step to try.")],
    event: Annotated[
        str, typer.Option("--event", "-e", metavar="JSON|@FILE|-", help="Event, or a list of them.")
    ] = "-",
    json: JsonFlag = False,
) -> None:
    """Run one step of a file on events, here and now; nothing is sent on."""
    value = _json(event)
    events = value if isinstance(value, list) else [value]
    with connect(timeout=APPLY_TIMEOUT) as client:
        found = client.post_packed("/v1/pipeline-test", _source(client, file) | {"step": step, "events": events})
    if json:
        print_json(found)
        return
    for a in read(found, list[results.Tried]):
        reason = f" ({escape(a.reason)})" if a.reason else ""
        console().print(f"{escape(a.id)} [bold]{escape(a.end)}[/]{reason} [dim]{a.ms:.1f} ms[/]")
        for e in a.events:
            console().print("  " + escape(jsonlib.dumps(e, ensure_ascii=False)))


@app.command()
def remove(name: Name, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a pipeline from all nodes. Events in flight finish."""
    if not yes and not json:
        typer.confirm(f"Remove the pipeline {name} from all nodes?", abort=True)
    with connect() as client:
        found = client.delete(path_of("pipelines", name))
    show(found, json, f"[green]✓[/] {escape(read(found, results.RemovedPipeline).name)} is removed")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    with connect() as client:
        print_json(client.get("/v1/pipeline-schema"))


def _source(client: Client, file: Path) -> dict[str, Any]:
    """The file with everything that it names, relative to its folder."""
    try:
        source: dict[str, Any] = {"text": file.read_text(), "file": str(file)}
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file} cannot be read: {e}", hint="check the path") from None
    files = {}
    for name in client.post_packed("/v1/pipeline-files", source):
        path = file.parent / name
        try:
            size = path.stat().st_size
            if size > MOST_FILE:
                raise ConfigError(f"{path} is larger than 32 MiB", hint="is this the module?")
            files[name] = path.read_bytes()
        except OSError as e:
            raise ConfigError(
                f"{file} names {name}, but {path} cannot be read: {e.strerror}", hint="build it first"
            ) from None
    return source | {"files": files}


def _json(text: str) -> Any:
    try:
        if text == "-":
            text = sys.stdin.read(1 << 20)
        elif text.startswith("@"):
            text = Path(text[1:]).read_text()
        return jsonlib.loads(text)
    except (OSError, ValueError) as e:
        raise ConfigError(f"this is not JSON: {e}", hint="quote it for the shell, or use @FILE") from None


def _applied(p: results.AppliedPipeline, what: str) -> None:
    console().print(f"[green]✓[/] [bold]{escape(p.name)}[/] {escape(p.version[:8])} {what}")
    if over := p.overrode:
        console().print(f"  [dim]instead of {escape(over.version[:8])} by {escape(over.signer)}[/]")
    rows = [[escape(s.step), f"[dim]{escape(s.kind)}[/]", _on(s)] for s in p.steps]
    if rows:
        console().print(table(["step", "kind", "on"], rows))
    for warning in p.warnings:
        console().print(f"[yellow]![/] {escape(warning)}")


def _on(s: results.AppliedStep) -> str:
    return escape(" ".join(s.nodes)) or "[yellow]no node now[/]"


def _paused(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"[yellow]paused for {since(seconds)}[/]" if seconds else "[yellow]paused[/]"
