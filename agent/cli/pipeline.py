"""`edge-agent pipeline …`: apply and manage pipelines."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from agent.api import Client, path_of, results
from agent.cli import completion
from agent.cli.context import JsonFlag, YesFlag, ask, connect, new_app
from agent.cli.output import ago, escape, listing, print_json, say, since, table
from agent.cli.status_view import view_pipeline
from agent.errors import ConfigError, NotFound, in_words
from agent.shared import builtin_program, examples

app = new_app(
    "Apply and manage pipelines.",
    examples=(
        "edge-agent pipeline apply door.yaml",
        "edge-agent pipeline diff door.yaml",
        "edge-agent pipeline pause person-at-the-door --for 2h",
        "edge-agent pipeline trigger door --type wifi.client.joined --data @join.json",
    ),
)

T = TypeVar("T")
Name = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Name of the pipeline.", autocompletion=completion.pipelines)
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline's YAML file.")]
APPLY_TIMEOUT = 600.0
MOST_FILE = 32 << 20


@app.command()
def apply(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Check a pipeline completely, sign it and run it. Shows what it replaced, and which nodes run each step.

    Modules and images are replaced by their hashes before signing: a tag or path never decides what runs.
    """
    p = _ask_about(file, "/v1/pipelines", results.AppliedPipeline, json, dry_run=dry_run)
    _applied(p, "would be applied" if dry_run else "is applied" if p.changed else "is unchanged")


@app.command()
def diff(file: File, json: JsonFlag = False) -> None:
    """Show what applying a file would change."""
    d = _ask_about(file, "/v1/pipeline-diff", results.PipelineDiff, json)
    for line in d.diff.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "default")
        say(f"[{colour}]{escape(line)}[/]")
    if not d.diff:
        say("[dim]no difference[/]")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the applied pipelines."""
    cells = [
        [
            f"[bold]{escape(p.name)}[/]",
            escape(p.version[:8]),
            str(p.steps),
            str(p.open),
            _paused(p.paused_s) or "running",
            f"{ago(p.applied)} by {escape(p.signer)}",
        ]
        for p in ask(lambda c: c.get("/v1/pipelines"), list[results.ListedPipeline], json)
    ]
    columns = ["pipeline", "version", "steps", "open", "state", "applied"]
    empty = "no pipeline is applied; edge-agent pipeline apply FILE"
    say(listing(columns, cells, empty=empty, right=("steps", "open")))


@app.command()
def describe(
    name: Name,
    text: Annotated[bool, typer.Option("--text", help="Print the YAML as applied.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show a pipeline's steps with their queues and ends, or with --text its YAML."""
    p = ask(lambda c: c.get(path_of("pipelines", name)), results.DescribedPipeline, json)
    if text:
        sys.stdout.write(p.text)
    else:
        say(view_pipeline(p))
        say(f"[dim]applied {ago(p.applied)} by {escape(p.signer)}[/]")


@app.command()
def history(name: Name, json: JsonFlag = False) -> None:
    """List the versions of a pipeline, newest first."""
    found = ask(lambda c: c.get(path_of("pipelines", name, "history")), list[results.PipelineVersion], json)
    cells = [
        [
            "[green]●[/]" if h.current else "",
            escape(h.version),
            str(h.counter),
            ago(h.applied),
            escape(h.signer),
        ]
        for h in found
    ]
    say(table(["", "version", "no", "applied", "by"], cells))


@app.command()
def rollback(
    name: Name,
    version: Annotated[str, typer.Argument(help="Version to return to; default: the one before.")] = "",
    json: JsonFlag = False,
) -> None:
    """Apply an earlier version again."""
    path = path_of("pipelines", name, "rollback")
    p = ask(lambda c: c.post(path, {"version": version}), results.AppliedPipeline, json, timeout=APPLY_TIMEOUT)
    _applied(p, "is applied again")


@app.command()
def pause(
    name: Name,
    for_: Annotated[str, typer.Option("--for", help="How long; default: until resumed.")] = "0s",
    json: JsonFlag = False,
) -> None:
    """Stop taking new events into a pipeline, on all nodes."""
    from agent.config import parse_duration

    body = {"seconds": parse_duration(for_)}
    p = ask(lambda c: c.post(path_of("pipelines", name, "pause"), body), results.Paused, json)
    say(f"[yellow]‖[/] {escape(p.name)} is {_paused(p.paused_s)}")


@app.command()
def resume(name: Name, json: JsonFlag = False) -> None:
    """Resume a paused pipeline."""
    resumed = ask(lambda c: c.post(path_of("pipelines", name, "resume")), results.Name, json)
    say(f"[green]✓[/] {escape(resumed.name)} goes on")


@app.command()
def trigger(
    name: Name,
    step: Annotated[
        str,
        typer.Option(
            "--step", help="Step that gets the event; default: the first steps.", autocompletion=completion.steps
        ),
    ] = "",
    kind: Annotated[
        str, typer.Option("--type", help="Type of the event. A presence step takes wifi.client.joined and the like.")
    ] = "edge.trigger",
    data: Annotated[str, typer.Option("--data", metavar="JSON|@FILE|-", help="Data of the event.")] = "{}",
    json: JsonFlag = False,
) -> None:
    """Put an event into a pipeline by hand, on a node that runs the step before it."""
    value = _json(data)
    if not isinstance(value, dict):
        raise ConfigError("the data must be a JSON object", hint='like {"camera": "door"}')
    path, event = path_of("pipelines", name, "trigger"), {"step": step, "type": kind, "data": value}
    ident = escape(ask(lambda c: c.post(path, event), results.Triggered, json).id)
    say(f"[green]✓[/] event {ident}  [dim]edge-agent trace {ident}[/]")


@app.command("test")
def try_(
    file: File,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="The step to try.", autocompletion=completion.steps_of_file)
    ],
    event: Annotated[
        str, typer.Option("--event", "-e", metavar="JSON|@FILE|-", help="Event, or a list of them.")
    ] = "-",
    json: JsonFlag = False,
) -> None:
    """Run one step of a file on events, here and now; nothing is sent on. Ends with 1 when an event fails."""
    value = _json(event)
    asked = {"step": step, "events": value if isinstance(value, list) else [value]}
    tried = ask(
        lambda c: c.post_packed("/v1/pipeline-test", _source(c, file) | asked), list[results.Tried], json,
        timeout=APPLY_TIMEOUT, code=_code,
    )  # fmt: skip
    for a in tried:
        reason = f" ({escape(a.reason)})" if a.reason else ""
        say(f"{escape(a.id)} [bold]{escape(a.end)}[/]{reason} [dim]{a.ms:.1f} ms[/]")
        for e in a.events:
            say("  " + escape(jsonlib.dumps(e, ensure_ascii=False)))
        for line in a.log:
            say(f"  [dim]{escape(line)}[/]")
    if code := _code(tried):
        raise typer.Exit(code)


def _code(tried: list[results.Tried]) -> int:
    return int(any(a.end == "failed" for a in tried))


@app.command()
def remove(name: Name, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Remove a pipeline from all nodes. Events in flight finish."""
    if not yes and not json:
        typer.confirm(f"Remove the pipeline {name} from all nodes?", abort=True)
    gone = ask(lambda c: c.delete(path_of("pipelines", name)), results.RemovedPipeline, json)
    say(f"[green]✓[/] {escape(gone.name)} is removed")


@app.command()
def example(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Name of the example.", autocompletion=lambda: list(examples()))
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Print an example of a pipeline file, to be changed and applied; without a name, list the examples."""
    found = examples()
    if name and name not in found:
        raise NotFound(
            f"there is no example {name!r}",
            hint=f"there are {', '.join(found)}" if found else "install the whole package",
        )
    if name:
        text = found[name].read_text("utf-8")
        print_json({"name": name, "text": text}) if json else typer.echo(text, nl=False)
    elif json:
        print_json(list(found))
    else:
        rows = [
            [escape(n), escape(file.read_text("utf-8").partition("\n")[0].lstrip("# "))] for n, file in found.items()
        ]
        say(listing(["example", ""], rows, empty="no example comes with this installation"))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    with connect() as client:
        print_json(client.get("/v1/pipeline-schema"))


def _ask_about(file: Path, path: str, kind: type[T], json: bool, **more: Any) -> T:
    """The agent's answer about a pipeline file; the request holds all files that it names, and `more`."""
    return ask(lambda c: c.post_packed(path, _source(c, file) | more), kind, json, timeout=APPLY_TIMEOUT)


_BUILD = (
    "build it first: in a checkout, python3 scripts/setup.py demo builds the modules of this project; "
    "docs/write-your-own-filter.md shows how to build your own"
)


def _source(client: Client, file: Path) -> dict[str, Any]:
    """The pipeline file and all files that it names, relative to its folder."""
    try:
        source: dict[str, Any] = {"text": file.read_text("utf-8"), "file": str(file)}
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file} cannot be read: {in_words(e)}", hint="check the path") from None
    files = {}
    for name in client.post_packed("/v1/pipeline-files", source):
        path = builtin_program(name) or file.parent / name
        try:
            size = path.stat().st_size
            if size > MOST_FILE:
                raise ConfigError(f"{path} is larger than 32 MiB", hint="is this the module?")
            files[name] = path.read_bytes()
        except OSError as e:
            raise ConfigError(f"{file} names {name}, but {path} cannot be read: {e.strerror}", hint=_BUILD) from None
    return source | {"files": files}


def _json(text: str) -> Any:
    try:
        if text == "-":
            text = sys.stdin.read(1 << 20)
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        value = jsonlib.loads(text)
        jsonlib.dumps(value, allow_nan=False)  # raises for 1e999, which no event can hold
        return value
    except OSError as e:
        raise ConfigError(f"{text[1:]} cannot be read: {in_words(e)}", hint="check the path") from None
    except ValueError as e:
        raise ConfigError(f"this is not JSON: {e}", hint="quote it for the shell, or use @FILE") from None


def _applied(p: results.AppliedPipeline, what: str) -> None:
    say(f"[green]✓[/] [bold]{escape(p.name)}[/] {escape(p.version[:8])} {what}")
    if over := p.overrode:
        say(f"  [dim]instead of {escape(over.version[:8])} by {escape(over.signer)}[/]")
    rows = [[escape(s.step), f"[dim]{escape(s.kind)}[/]", _on(s)] for s in p.steps]
    if rows:
        say(table(["step", "kind", "on"], rows))
    for warning in p.warnings:
        say(f"[yellow]![/] {escape(warning)}")
    without = {s.kind for s in p.steps if not s.nodes}
    if without - {"sink"}:
        say("  [dim]→ edge-agent nodes shows the labels; edge-agent node label NODE KEY=VALUE adds one[/]")
    if "sink" in without:
        say("  [dim]→ edge-agent sink connect URL, on the node that may reach the sink[/]")
    if p.learning_s:
        say(f"[blue]i[/] it learns for {since(p.learning_s)}: devices that it meets cause no alert")
        say("  [dim]→ to end it: edge-agent device learn --stop[/]")


def _on(s: results.AppliedStep) -> str:
    return escape(" ".join(s.nodes)) or "[yellow]no node now[/]"


def _paused(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"[yellow]paused for {since(seconds)}[/]" if seconds else "[yellow]paused[/]"
