"""Real agents for the benchmarks: processes with their own state and API sockets."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from agent.api import Client
from agent.errors import Unreachable
from demo.building import AGENT
from demo.children import Children
from demo.environment import HOST, free_ports, write_private, yaml_of
from demo.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent
START = 60.0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, without children, in nanosecond steps (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


class Agents:
    """Some agents of one mesh in one folder; the first started agent makes the mesh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children = Children()
        self._operator = ""

    def start(self, name: str, *, labels: dict[str, str] | None = None, token: Path | None = None) -> int:
        """Start an agent, or restart it with its state; returns its pid when it answers.

        A new one joins the mesh of the first one, or the one that `token` is for.
        """
        folder = self.folder / name
        options: list[str] = []
        if not (folder / "config.yaml").exists():
            folder.mkdir(mode=0o700)
            write_private(folder / "config.yaml", yaml_of(self._config(name, labels or {})))
            options = ["--join", f"@{token}"] if token else self._way_in(name, labels or {})
        child = self.children.start(
            name, [*AGENT, "serve", "--config", folder / "config.yaml", *options], folder / "agent.log"
        )
        wait_for(f"the agent {name}", lambda: self.status(name), START, self.children.check)
        return child.process.pid

    def _config(self, name: str, labels: dict[str, str]) -> dict[str, Any]:
        port, enrol_port = free_ports(2)
        return {
            "name": name,
            "state": str(self.folder / name / "state"),
            "run": str(self.socket(name)),
            "mesh": {"listen": HOST, "port": port, "enrol_port": enrol_port, "mdns": False},
            "labels": labels,
            "policy": {"process": True, "docker": False},
            "docker": {"host": f"unix://{self.folder}/none.sock"},
        }

    def _way_in(self, name: str, labels: dict[str, str]) -> list[str]:
        if not self._operator:
            self._operator = name
            return ["--new"]
        body = {"ttl": 600.0, "uses": 1, "role": "member", "labels": labels}
        token = self.folder / name / "token"
        write_private(token, self.ask(self._operator, "post", "/v1/tokens", body)["token"] + "\n")
        return ["--join", f"@{token}"]

    def socket(self, name: str) -> Path:
        """The path of an agent's API socket."""
        return self.folder / name / "agent.sock"

    def ask(self, name: str, verb: str, path: str, *arguments: Any, **parameters: Any) -> Any:
        """Send a request to an agent's API."""
        with Client(self.socket(name), timeout=60.0) as client:
            return getattr(client, verb)(path, *arguments, **parameters)

    def status(self, name: str) -> dict[str, Any] | None:
        """An agent's status; None while it does not answer."""
        try:
            found: dict[str, Any] = self.ask(name, "get", "/v1/status")
        except Unreachable:
            return None
        return found

    def apply(self, name: str, pipeline: str) -> None:
        """Apply a pipeline's text at one agent and wait until each has it; raises RuntimeError."""
        file = self.folder / "pipeline.yaml"
        file.write_text(pipeline)
        command = [*AGENT, "--socket", str(self.socket(name)), "pipeline", "apply", str(file)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        self.applied()

    def applied(self) -> None:
        """Wait until every agent has a pipeline."""

        def look() -> bool | None:
            return all((s := self.status(n)) is not None and s["pipelines"] for n in self.children.all) or None

        wait_for("the pipeline everywhere", look, START, self.children.check)

    def stop(self, name: str = "") -> None:
        """End one agent, or all."""
        if not name:
            self.children.stop()
            return
        child = self.children.all.pop(name)
        child.process.terminate()
        child.process.wait(20)


@contextlib.contextmanager
def agents() -> Iterator[Agents]:
    """Agents in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        made = Agents(Path(folder))
        try:
            yield made
        finally:
            made.stop()
