"""`edge-agent demo` and `edge-agent demo poke`."""

from __future__ import annotations

import contextlib
import json as jsonlib
import os
import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.errors import ConfigError, EdgeError
from demo import phone, story
from demo.building import Building, explain
from demo.docker_engine import DemoEngine
from demo.environment import Checkout, Running, announced, demo_folder, start_time
from demo.waiting import DemoError

app = typer.Typer(
    help="The whole story on this machine: four agents, two cameras, a sink.",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="With --once: print one JSON summary.")]


@app.callback()
def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Unattended: one arrival, then end.")] = False,
    json: Json = False,
    require_docker: Annotated[
        bool, typer.Option("--require-docker", help="Fail when the detector cannot run in Docker.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Keep logs and states in this new or empty folder.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the sink's page in a browser if there is a screen.")] = True,
) -> None:
    """Start four agents (ap, porch, garage, gpu) and a sink on this machine, and let phones join the Wi-Fi.

    Press Enter to let a phone join: the cameras take photos, the photos are rescaled and labelled, and one labelled
    photo for each camera that sees a person reaches the sink. Ctrl-C stops all processes. `edge-agent demo poke` lets
    a phone join from another shell.
    """
    if context.invoked_subcommand is not None:
        return
    if json and not once:
        raise ConfigError("--json needs --once", hint="run edge-agent demo --once --json")
    with _interruptible():
        try:
            code = _run(once=once, as_json=json, require_docker=require_docker, kept=folder, browser=browser)
        except KeyboardInterrupt:
            _say("stopped")
            code = 130
    raise typer.Exit(code)


@app.command()
def poke(
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Name of a known device (ada, or a new name)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let a phone join the Wi-Fi of the demo that runs in another shell. With --device NAME it is a known device."""
    from demo.poke import poke_running

    poke_running(device, as_json=json)


def _run(*, once: bool, as_json: bool, require_docker: bool, kept: Path | None, browser: bool) -> int:
    checkout = Checkout()
    os.umask(0o077)  # logs, states and photos are private
    folder = demo_folder(kept)
    engine = DemoEngine(checkout)
    building: Building | None = None
    failed = True
    try:
        engine.prepare(required=require_docker)
        if engine.why_not:
            _say(f"no Docker ({engine.why_not}): the detector runs as a local process")
        building = Building(folder, checkout, docker=engine.usable, say=_say)
        try:
            building.start()
            with announced(_running(building)):
                code = _once(building, as_json=as_json) if once else _attended(building, browser=browser)
        except EdgeError as e:
            raise explain(e, building) from e
        failed = code != 0
        return code
    except KeyboardInterrupt:
        failed = False
        raise
    finally:
        if building is not None:
            building.stop()
        try:
            engine.sweep(list(building.ids.values()) if building else [])
        finally:
            if kept is None and not failed:
                shutil.rmtree(folder, ignore_errors=True)
            elif failed and building is not None:
                _say(f"logs and states stay in {folder}")


def _once(building: Building, *, as_json: bool) -> int:
    mac = phone.new_mac()
    _say(f"an unknown phone joins the Wi-Fi: {mac}")
    arrival = story.join(building, mac, alive=building.children.check)
    story.settle(building, arrival, building.children.check)
    faults = story.faults(arrival)
    made = {"ok": not faults, "faults": faults, **story.summary(building, arrival)}
    made |= {
        "docker": building.docker,
        "nodes": building.ids,
        "seconds": round(time.monotonic() - building.began, 1),
    }
    if as_json:
        print(jsonlib.dumps(made, ensure_ascii=False), flush=True)
    else:
        from agent.cli import console
        from demo.drawing import result

        console().print(result(building, arrival))
    if faults:
        raise DemoError("the demo had another result than expected: " + "; ".join(faults), hint="see the agents' logs")
    return 0


def _attended(building: Building, *, browser: bool) -> int:
    from demo.interactive import run_interactive

    assert building.sink is not None
    if browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(building.sink.login_url)
    run_interactive(building)
    return 0


def _running(building: Building) -> Running:
    return Running(os.getpid(), start_time(os.getpid()), str(building.folder))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, SIGHUP and SIGINT end the demo like Ctrl-C, even if a shell has set SIGINT to be ignored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: list[Callable[..., Any] | int | None] = [signal.signal(n, interrupt) for n in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


_began = time.monotonic()


def _say(text: str) -> None:
    """Print a line of progress to stderr."""
    print(f"demo: {time.monotonic() - _began:4.0f} s  {text}", file=sys.stderr, flush=True)
