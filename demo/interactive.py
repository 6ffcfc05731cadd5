"""The interactive demo: keys let phones join, and a live view shows the mesh and its events."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table

from agent.api import Client
from agent.cli import console, escape
from agent.errors import EdgeError
from demo import phone, story
from demo.agents import KNOWN
from demo.building import KNOWN_MAC, Building
from demo.drawing import mesh, passing, result

FRAME = 0.2
LIT = 1.5
"""Seconds that a node stays highlighted after an event."""
LOOK = 1.0
WIDE = 110
"""Least number of columns for the mesh and the events side by side."""
HELP = (
    f"[bold]Enter[/] a phone joins · [bold]k[/] a known phone ({KNOWN}) · [bold]l[/] another link to the page"
    " · [bold]q[/] quit"
)


class Follower:
    """Follows the mesh in two threads: events, the nodes' states, and the results of arrivals."""

    def __init__(self, building: Building) -> None:
        self.building = building
        self.events: deque[dict[str, Any]] = deque(maxlen=100)
        self.lit: dict[str, float] = {}
        self.statuses: dict[str, dict[str, Any]] = building.statuses()
        self.results: deque[RenderableType] = deque()
        self._arrivals: deque[story.Arrival] = deque()
        self._heard: set[str] = set()
        self._ended = threading.Event()
        for work in (self._follow, self._look):
            threading.Thread(target=work, daemon=True, name=f"demo {work.__name__}").start()

    def end(self) -> None:
        """Stop following."""
        self._ended.set()

    def busy(self) -> list[str]:
        """Nodes that an event passed within the last LIT seconds."""
        now = time.monotonic()
        return [name for name, at in self.lit.items() if now - at < LIT]

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                with Client(self.building.sockets["gpu"]) as client:
                    for event in client.stream("/v1/events", follow=True, limit=None):
                        self._passed(event)
            except EdgeError:
                self._ended.wait(LOOK)

    def _passed(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.lit[str(event.get("node", ""))] = time.monotonic()

    def _look(self) -> None:
        while not self._ended.wait(LOOK if not self._arrivals else LOOK / 4):
            try:
                self.statuses = self.building.statuses()
                self._hear()
                if self._arrivals:
                    self._finish(self._arrivals.popleft())
            except EdgeError as e:
                self.results.append(f"[red]{escape(e.message)}[/]")

    def _hear(self) -> None:
        """Read new joins from the access point's list of events: the live stream may miss a join, the list does not."""
        for event in self.building.events("ap", "wifi.client.joined"):
            if event["id"] not in self._heard:
                self._heard.add(event["id"])
                self._arrivals.append(story.Arrival(event["data"]["mac"], "", event["id"]))

    def _finish(self, arrival: story.Arrival) -> None:
        story.settle(self.building, arrival)
        rows = self.building.ask("gpu", "get", "/v1/devices")
        arrival.name = next((d.get("name", "") for d in rows if d["id"] == arrival.mac), "")
        self.results.append(result(self.building, arrival))


def run_interactive(building: Building) -> None:
    """Show the live view and react to keys until `q` or Ctrl-C; raises DemoError when a process ends."""
    watch = Follower(building)
    console().print(_welcome(building))
    try:
        with _keys() as keyed, Live(console=console(), auto_refresh=False, transient=True) as live:
            while True:
                building.children.check()
                while watch.results:
                    console().print(watch.results.popleft())
                if sys.stdout.isatty():
                    live.update(_frame(watch, keyed=keyed), refresh=True)
                if not _key(building, _pressed(keyed=keyed)):
                    return
    finally:
        watch.end()


def _welcome(building: Building) -> RenderableType:
    detector = "in Docker" if building.docker else "as a local process, because Docker is not usable"
    lines = [
        "\n[bold]Four agents and a sink run on this machine.[/] The detector runs " + detector + ".",
        f"Log in to the sink's page, once: [cyan]{_link(building)}[/]",
        "[dim]your browser warns about the self-signed certificate; agents pin it[/]",
        "In another shell: [bold]edge-agent demo poke[/], with [bold]--device NAME[/] for a known device.",
        f"[dim]logs and states: {escape(str(building.folder))}[/]\n",
    ]
    return Group(*lines)


def _link(building: Building) -> str:
    """The link that logs in. Without a terminal it is the command that makes a link, since the output may be a log."""
    assert building.sink is not None
    if sys.stdout.isatty():
        return building.sink.login_url
    return f"edge-sink user login-link --data {building.sink_data} --url {building.sink.url}"


def _another_link(building: Building) -> str:
    assert building.sink is not None
    command = [sys.executable, "-m", "cloud_sink", "user", "login-link"]
    command += ["--data", str(building.sink_data), "--url", building.sink.url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() or done.stderr.strip()


def _frame(watch: Follower, *, keyed: bool) -> RenderableType:
    parts: list[RenderableType] = [mesh(watch.statuses, watch.busy()), passing(watch.events)]
    if console().width >= WIDE:
        grid = Table.grid(padding=(0, 3))
        grid.add_row(*parts)
        parts = [grid]
    keys = HELP if keyed else "[dim]no keyboard: edge-agent demo poke lets a phone join; Ctrl-C quits[/]"
    return Group(*(Padding(p, (1, 0, 0, 1)) for p in parts), Padding(keys, (1, 0, 0, 1)))


def _key(building: Building, key: str) -> bool:
    """React to a key; False for the key that ends the demo."""
    match key:
        case "\n" | "\r":
            phone.append(building.log, phone.joins(phone.new_mac()))
        case "k":
            phone.append(building.log, phone.joins(KNOWN_MAC, KNOWN))
        case "l":
            console().print(f"  [cyan]{escape(_another_link(building))}[/]")
        case "q":
            return False
    return True


@contextlib.contextmanager
def _keys() -> Iterator[bool]:
    """Read single keys without echo while the block runs; yields True if there is a keyboard."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield False
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(*, keyed: bool) -> str:
    """The key that was pressed within FRAME seconds, else empty."""
    if not keyed:
        time.sleep(FRAME)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], FRAME)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""
