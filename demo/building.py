"""The demo's building: four agents that join one mesh by tokens, two cameras, a pipeline, and a sink."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import EdgeError
from demo import phone
from demo.agents import CAMERAS, KNOWN, NODES, PIPELINE, Agents
from demo.children import Children
from demo.environment import HOST, Checkout, free_ports, write_private, yaml_of
from demo.waiting import DemoError, wait_for

LABELS = {"ap": {"wifi-log": "true"}, "porch": {"camera": "true"}, "garage": {"camera": "true"}}
KNOWN_MAC = "a4:83:e7:2b:10:5c"
START, JOIN, LINK, APPLY, WARM = 60.0, 90.0, 60.0, 180.0, 60.0
"""Seconds to wait until a process answers, a node has joined, all are linked, a pipeline runs, the log is read."""

AGENT = (sys.executable, "-c", "from agent.cli import main; main()")
"""The command `edge-agent` of this Python, independent of the place of its script."""

Say = Callable[[str], None]


class SinkFacts(msgspec.Struct):
    """The sink's ready file (cloud_sink.server.Ready)."""

    url: str
    connect: str
    key_file: str
    login_url: str


class Building(Agents):
    """The processes of the demo: started together, stopped together."""

    def __init__(self, folder: Path, checkout: Checkout, *, docker: bool, say: Say) -> None:
        super().__init__(folder, time.monotonic())
        self.checkout, self.docker, self.say = checkout, docker, say
        self.children = Children()
        self.ids: dict[str, str] = {}
        self.sink: SinkFacts | None = None
        self._ports = iter(free_ports(2 * len(NODES)))

    def start(self) -> None:
        """Start all processes; raises DemoError, or the error of an agent's answer."""
        self.say("starting the sink and the first agent, gpu, which makes the mesh")
        self._start_sink()
        self._start_agent("gpu", "--new")
        self.ids["gpu"] = str(self._wait_for_agent("gpu", START)["node"]["id"])
        for name in NODES[1:]:
            self.say(f"{name} joins with a token")
            self._join(name)
        wait_for("all agents linked to each other", self._linked, LINK, self.children.check)
        self.say("setting up the cameras, the sink's key and the pipeline")
        for name in CAMERAS:
            camera = {"name": "front", "source": f"file:{self.checkout.scenes / name}", "replace": True}
            self.ask(name, "post", "/v1/cameras", camera)
        self._connect_sink()
        self._apply()
        self.know(KNOWN, KNOWN_MAC)
        self.say("waiting until the access point's log is read")
        self._warm()

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start_sink(self) -> None:
        ready = self.folder / "sink-ready.json"
        command = [sys.executable, "-m", "cloud_sink", "serve", "--host", HOST, "--port", "0", "--json"]
        self.children.start(
            "sink", [*command, "--data", self.sink_data, "--ready-file", ready], self.folder / "sink.log"
        )

        def look() -> SinkFacts | None:
            return msgspec.json.decode(ready.read_bytes(), type=SinkFacts) if ready.exists() else None

        self.sink = wait_for("the sink", look, START, self.children.check)
        ready.unlink()  # it holds a link that logs in

    def _start_agent(self, name: str, *options: str) -> None:
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        config = folder / "config.yaml"
        write_private(config, yaml_of(self._config(name)))
        if name == "ap":
            phone.append(self.log, phone.boot())
        self.children.start(name, [*AGENT, "serve", "--config", config, *options], folder / "agent.log")

    def _config(self, name: str) -> dict[str, Any]:
        folder = self.folder / name
        found: dict[str, Any] = {
            "name": name,
            "state": str(folder / "state"),
            "run": str(self.sockets[name]),
            "mesh": {"listen": HOST, "port": next(self._ports), "enrol_port": next(self._ports), "mdns": False},
            "policy": {"docker": name == "gpu" and self.docker, "process": name == "gpu" and not self.docker},
            "log": {"format": "text"},
        }
        if name == "ap":
            found["sources"] = {"tail": [str(self.log)]}
        return found

    def _wait_for_agent(self, name: str, timeout: float) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            return self.status(name) if self.sockets[name].exists() else None

        return wait_for(f"the agent {name}", look, timeout, self.children.check)

    def _join(self, name: str) -> None:
        body = {"ttl": 600.0, "uses": 1, "role": "member", "labels": LABELS[name]}
        token = self.folder / f"{name}.token"
        write_private(token, self.ask("gpu", "post", "/v1/tokens", body)["token"] + "\n")
        try:
            self._start_agent(name, "--join", f"@{token}")
            self.ids[name] = str(self._wait_for_agent(name, JOIN)["node"]["id"])
        finally:
            token.unlink()

    def _linked(self) -> bool | None:
        """True if every agent sees all others with their labels, else None."""
        found = self.statuses()
        whole = len(found) == len(NODES) and all(
            sum(bool(n["alive"]) for n in s["nodes"]) == len(NODES)
            and all(LABELS.get(n["name"], {}).items() <= n["labels"].items() for n in s["nodes"])
            for s in found.values()
        )
        return whole or None

    def _connect_sink(self) -> None:
        assert self.sink is not None
        key = Path(self.sink.key_file).read_text().strip()
        line = self.sink.connect.split()[-1]
        self.ask("gpu", "post", "/v1/sink", {"url": line, "key": key}, timeout=60.0)
        wait_for("the sink's label on gpu", self._uplink_known, LINK, self.children.check)

    def _uplink_known(self) -> bool | None:
        found = self.statuses()
        named = ({n["name"]: n["labels"] for n in s["nodes"]}.get("gpu", {}) for s in found.values())
        return (len(found) == len(NODES) and all(labels.get("uplink") == "true" for labels in named)) or None

    def _apply(self) -> None:
        file = self._pipeline_file()
        command = [*AGENT, "--socket", str(self.sockets["gpu"]), "pipeline", "apply", str(file)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=APPLY
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"the pipeline was not applied within {APPLY:.0f} s", hint="see gpu/agent.log") from None
        if done.returncode:
            raise DemoError(f"{file} was not applied:\n{done.stderr.strip()}", hint="see gpu/agent.log")
        wait_for("the pipeline on every agent", self._applied, APPLY, self.children.check)

    def _pipeline_file(self) -> Path:
        """The pipeline without a time of learning; without Docker the detector is a local process on gpu, not a container."""
        text = self.checkout.pipeline.read_text()
        command = [sys.executable, "-m", "detector.worker", "--model", str(self.checkout.model)]
        changes = {"presence: {away: 30m}": "presence: {away: 30m, learn: 0}"}
        if not self.docker:
            changes |= {
                "docker: {image: edge/detector:1}": f"process: {{command: {msgspec.json.encode(command).decode()}}}",
                "where: docker=true": "where: node=gpu",
            }
        for old, new in changes.items():
            if old not in text:
                raise DemoError(f"{self.checkout.pipeline} has no {old!r}", hint="git checkout examples")
            text = text.replace(old, new)
        file = self.folder / "pipeline.yaml"
        file.write_text(text)
        return file

    def _applied(self) -> bool | None:
        found = self.statuses()
        return (
            len(found) == len(NODES) and all(PIPELINE in {p["name"] for p in s["pipelines"]} for s in found.values())
        ) or None

    def _warm(self) -> None:
        """Let a neighbour's device leave until the filter reports it: from then on no line is missed."""
        written = 0.0

        def look() -> bool | None:
            nonlocal written
            if time.monotonic() - written > 1.0:
                written = time.monotonic()
                phone.append(self.log, phone.leaves(phone.NEIGHBOUR))
            return bool(self.events("ap", "wifi.client.left", 1)) or None

        wait_for("the access point's log is read", look, WARM, self.children.check)

    # -- ending --------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every process."""
        self.children.stop()


def explain(error: EdgeError, building: Building) -> EdgeError:
    """The error with the last lines of all logs."""
    return DemoError(f"{error.message}\n{building.children.last_lines()}", hint=error.hint, code=error.code)
