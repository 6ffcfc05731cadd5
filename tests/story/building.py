"""A building of real agents, each in a process that can be killed, restarted and destroyed, and a real sink."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from agent.api import Client, path_of
from agent.errors import EdgeError
from demo import phone
from demo.building import AGENT
from demo.children import Children
from demo.environment import HOST, free_ports, write_private, yaml_of
from demo.waiting import DemoError, wait_for
from tests.story.pipelines import NAME

ROOT = Path(__file__).parents[2]
FILTERS = ROOT / "build/filters"
T = TypeVar("T")
ENDS = ("delivered", "skipped", "deduplicated", "suppressed", "failed", "expired", "lost")
START = 60.0
"""Seconds that a busy machine may need to start an agent."""


@dataclass
class Result:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Node:
    """One agent: its folder, its place on the network, what it is for."""

    building: Building
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()
    docker: bool = False
    inside: tuple[str, ...] = ()
    """A prefix that runs a command on the node's host, where that is a namespace."""
    host: str = HOST
    mdns: bool = False
    ports: tuple[int, int] = (0, 0)
    id: str = ""

    @property
    def folder(self) -> Path:
        return self.building.folder / self.name

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"

    @property
    def messages(self) -> Path:
        """The log that its `tail: auto` reads."""
        return self.folder / "messages"

    @property
    def running(self) -> bool:
        child = self.building.children.all.get(self.name)
        return child is not None and child.process.poll() is None

    @property
    def pid(self) -> int:
        return self.building.children.all[self.name].process.pid

    # -- life ----------------------------------------------------------------------------------------------------------

    def configure(self, **more: Any) -> None:
        """Write its configuration; keys of `more` replace whole sections."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.ports == (0, 0):
            first, second = free_ports(2)
            self.ports = first, second
        config: dict[str, Any] = {
            "name": self.name,
            "state": str(self.state),
            "run": str(self.socket),
            "mesh": {"listen": self.host, "port": self.ports[0], "enrol_port": self.ports[1], "mdns": self.mdns},
            "policy": {"docker": self.docker},
            "labels": {"docker": "true"} if self.docker else {},
            "sources": {"tail": [str(self.messages)]},
            "log": {"format": "text"},
            **more,
        }
        write_private(self.folder / "config.yaml", yaml_of(config))

    def start(self, *options: str) -> None:
        """Start it; it answers once `wait` returns."""
        if not (self.folder / "config.yaml").exists():
            self.configure()
        phone.append(self.messages, "" if self.messages.exists() else phone.boot())
        command = [*self.inside, *AGENT, "serve", "--config", str(self.folder / "config.yaml"), *options]
        self.building.children.start(self.name, command, self.log)

    def wait(self, timeout: float = START) -> dict[str, Any]:
        """Its status, once it answers."""
        found = wait_for(f"the agent {self.name}", self.status, timeout, self._alive)
        self.id = str(found["node"]["id"])
        return found

    def _alive(self) -> None:
        if not self.running:
            raise DemoError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL to the agent alone: what it started has to see to its own end."""
        process = self.building.children.all[self.name].process
        process.kill()
        process.wait()

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        process = self.building.children.all[self.name].process
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout)

    def destroy(self) -> None:
        """SIGKILL, and its disk is gone."""
        self.kill()
        shutil.rmtree(self.state)

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, verb: str, path: str, value: dict[str, Any] | None = None, *, timeout: float = 30.0) -> Any:
        """The answer of the agent's API; `value` is the query of a GET or the body of a POST."""
        with Client(self.socket, timeout=timeout) as client:
            return client.get(path, **(value or {})) if verb == "get" else client.post(path, value)

    def status(self) -> dict[str, Any] | None:
        """The answer of `status`, or None while it does not answer."""
        with socket.socket(socket.AF_UNIX) as probe:  # httpx leaks its socket where nobody listens
            try:
                probe.connect(str(self.socket))
            except OSError:
                return None
        try:
            found: dict[str, Any] = self.ask("get", "/v1/status")
        except EdgeError:
            return None
        return found

    def cli(self, *words: str, input: str = "", timeout: float = 90.0) -> Result:
        """`edge-agent` on the node's host, against this agent."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_AGENT_")}
        done = subprocess.run(
            [*self.inside, *AGENT, *words], input=input, capture_output=True, text=True, check=False, timeout=timeout,
            env={**environ, "EDGE_AGENT_SOCKET": str(self.socket), "EDGE_AGENT_STATE": str(self.state)},
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def rows(self, where: str = "1", *values: Any) -> list[dict[str, Any]]:
        """Rows of its journal, as they are on the disk."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/journal.db?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return [dict(r) for r in db.execute(f"SELECT * FROM row WHERE {where} ORDER BY n", values)]

    def blobs(self) -> dict[str, bytes]:
        """The blobs on its disk, by CID."""
        return {p.name: p.read_bytes() for p in (self.state / "blobs").rglob("b*") if p.is_file() and len(p.name) > 40}

    def devices_read(self) -> int:
        """How many joins its log source has put into its journal."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/journal.db?mode=ro", uri=True, timeout=10)) as db:
            sql = "SELECT body FROM event WHERE id IN (SELECT event FROM row WHERE step = 'arrived')"
            found = [json.loads(body) for (body,) in db.execute(sql)]
        return sum(e["type"] == "wifi.client.joined" and e["source"].startswith(f"/{self.id}/") for e in found)


class Sink:
    """A real sink, that can be killed and started again where it was."""

    name = "sink"

    def __init__(self, building: Building, *, host: str = HOST, inside: Sequence[str] = ()) -> None:
        self.building, self.host, self.inside = building, host, inside
        self.data, self.ready = building.folder / "sink", building.folder / "sink.ready"
        self.port, self.url, self.key = 0, "", ""

    def start(self) -> None:
        """Start it; `wait` waits until it is ready."""
        self.ready.unlink(missing_ok=True)
        command = [*self.inside, sys.executable, "-m", "cloud_sink", "serve", "--data", self.data, "--host", self.host]
        options = ["--port", str(self.port), "--ready-file", self.ready, "--json"]
        self.building.children.start("sink", [*command, *options], self.building.folder / "sink.log")

    def wait(self) -> None:
        self.building.until("the sink is ready", self.ready.exists)
        facts = json.loads(self.ready.read_bytes())
        self.port, self.url = facts["port"], facts["connect"].split()[-1]
        self.key = Path(facts["key_file"]).read_text().strip()

    def kill(self) -> None:
        """SIGKILL."""
        process = self.building.children.all["sink"].process
        process.kill()
        process.wait()


class Building:
    """The nodes of one mesh, and a sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children = Children()
        self.nodes: dict[str, Node] = {}
        self.sink = Sink(self)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def add(self, name: str, **facts: Any) -> Node:
        self.nodes[name] = Node(self, name, **facts)
        return self.nodes[name]

    @property
    def running(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.running]

    # -- making it -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first node makes the mesh, the others join it by tokens; then all are linked and labelled."""
        first, *others = self.nodes.values()
        first.start("--new")
        first.wait()
        if first.labels:
            self.label(first, by=first)
        for node in others:
            self.join(node, first)
        self.add_cameras()
        self.together()

    def add_cameras(self) -> None:
        """Folders of pictures as the nodes' cameras."""
        for node in self.nodes.values():
            for camera in node.cameras:
                source = f"file:{pictures(self.folder / 'pictures' / camera, camera)}"
                node.ask("post", "/v1/cameras", {"name": camera, "source": source})

    def label(self, node: Node, *, by: Node) -> None:
        done = by.cli("node", "label", node.name, *(f"{k}={v}" for k, v in node.labels.items()))
        assert done.code == 0, done.err

    def join(self, node: Node, by: Node) -> None:
        """Let a node in with a token of `by`."""
        body = {"ttl": 600.0, "uses": 1, "role": "member", "labels": node.labels}
        token = self.folder / f"{node.name}.token"
        write_private(token, by.ask("post", "/v1/tokens", body)["token"] + "\n")
        node.start("--join", f"@{token}")
        node.wait()
        token.unlink()

    def connect_sink(self, *names: str) -> None:
        """Start the sink and connect these nodes to it."""
        self.sink.start()
        self.sink.wait()
        for name in names:
            self[name].ask("post", "/v1/sink", {"url": self.sink.url, "key": self.sink.key}, timeout=60.0)
        self.together()

    def apply(self, text: str, by: Node) -> None:
        file = self.folder / "pipeline.yaml"
        file.write_text(text)
        done = by.cli("pipeline", "apply", str(file))
        assert done.code == 0, done.err
        self.until("the pipeline on every agent", lambda: all(self._has_pipeline(n) for n in self.running))
        for node in self.running:
            if "wifi-log" in node.labels:
                self.until("its log is being read", lambda n=node: self._reads(n))

    def _reads(self, node: Node) -> bool:
        """Let a neighbour's device leave until the node has heard: a new log is read from its end on."""
        phone.append(node.messages, phone.leaves(phone.NEIGHBOUR))
        with Client(node.socket) as client:
            return any(e["type"] == "wifi.client.left" for e in client.stream("/v1/events", limit=5))

    def _has_pipeline(self, node: Node) -> bool:
        status = node.status()
        return status is not None and NAME in {p["name"] for p in status["pipelines"]}

    def together(self, timeout: float = 60.0) -> None:
        """Wait until all running nodes see exactly each other, with their labels."""
        self.until("all agents see each other", lambda: all(self._sees(n) for n in self.running), timeout)

    def _sees(self, node: Node) -> bool:
        status = node.status()
        if status is None:
            return False
        alive = {n["name"]: n["labels"] for n in status["nodes"] if n["alive"]}
        wanted = {n.name: n.labels for n in self.running}
        return alive.keys() == wanted.keys() and all(wanted[n].items() <= alive[n].items() for n in wanted)

    def until(self, what: str, look: Callable[[], object], timeout: float = 60.0) -> None:
        """Wait until `look()` is true; fails with the ends of all logs."""
        try:
            wait_for(what, lambda: True if look() else None, timeout)
        except DemoError as e:
            raise AssertionError(f"{e}\n{self.children.last_lines()}") from None

    # -- what came of it -----------------------------------------------------------------------------------------------

    def quiet(self) -> bool:
        """Whether nothing is open on any node, nothing waits for the sink, and every branch is closed and told."""
        return all(self.open_on(n) == 0 for n in self.running) and not self.unfinished()

    def unfinished(self) -> list[str]:
        """Rows that are open, not closed, or not told to who delivered them (a member that is gone for good aside)."""
        import msgspec

        here = {n.id for n in self.running}
        found = []
        for node in self.running:
            for r in node.rows():
                claims = msgspec.msgpack.decode(r["claims"], type=dict[str, int])
                if r["state"] != 5 or not r["closed"] or any(k < 2 for n, k in claims.items() if n in here):
                    found.append(
                        f"{node.name} {r['n']} {r['event'][:5]} {r['step']} state={r['state']} {r['ending']} "
                        f"to={r['target'][:4]} closed={r['closed']} claims={claims} parent={r['parent']} {r['reason']}"
                    )
        return found

    def open_on(self, node: Node) -> int:
        """Open events of a node, and what waits there for the sink; -1 while it does not answer."""
        status = node.status()
        return -1 if status is None else status["journal"]["open"] + status["uplink"].get("waiting", 0)

    def check_sums(self) -> None:
        """Accepted = the sum of the ends, and nothing open, for each step on every node; from `status --json`."""
        for node in self.running:
            done = node.cli("status", "--json")
            assert done.code == 0, done.err
            for pipeline in done.json["pipelines"]:
                for s in pipeline["steps"]:
                    assert s["open"] == 0, (node.name, s)
                    assert s["accepted"] == sum(s["ends"].values()), (node.name, s)

    def ends(self) -> dict[str, Counter[str]]:
        """Ends of all rows of all nodes by step."""
        made: dict[str, Counter[str]] = {}
        for node in self.running:
            for r in node.rows():
                made.setdefault(r["step"], Counter())[r["ending"] or "open"] += 1
        return made

    def alerts(self) -> list[tuple[str, str, str]]:
        """(event id, root, camera) of each alert that the sink has."""
        with contextlib.closing(sqlite3.connect(f"file:{self.sink.data}/sink.db?mode=ro", uri=True, timeout=10)) as db:
            return db.execute("SELECT event_id, root, camera FROM alerts ORDER BY seq").fetchall()

    def trace(self, ident: str, at: Node) -> dict[str, Any]:
        found: dict[str, Any] = at.ask("get", path_of("trace", ident))
        return found


def pictures(folder: Path, name: str, count: int = 200) -> Path:
    """A folder of small photos that all differ: mostly green where the camera's name begins with `empty`, else blue."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        noise = Image.frombytes("RGB", (40, 20), random.Random(f"{name} {n}").randbytes(2400)).resize((160, 90))
        colour = (60, 200, 40) if name.startswith("empty") else (60, 40, 200)
        image = Image.blend(noise, Image.new("RGB", noise.size, colour), 0.5)
        image.save(folder / f"{n:04}.jpg", "JPEG", quality=70)
    return folder


@contextlib.contextmanager
def building() -> Iterator[Building]:
    """A building in a folder whose path is short enough for unix sockets; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="edge-story-"))
    made = Building(folder)
    try:
        yield made
    finally:
        made.children.stop()
        if kept := os.environ.get("EDGE_STORY_KEEP"):
            shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(folder, ignore_errors=True)


def mac(n: int) -> str:
    """The n-th device."""
    return f"02:00:00:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"


def arrive(node: Node, numbers: Sequence[int]) -> None:
    """These devices join, in one write to the node's log."""
    phone.append(node.messages, "".join(phone.joins(mac(n)) for n in numbers))
