"""A device of a run: its machine, its part in the mesh, and the agent on it."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agent.config import parse_duration
from hil.inventory import Entry, Power
from hil.report import Mark
from hil.standins import DeviceError, Done, Machine
from hil.standins.ssh import Ssh

T = TypeVar("T")
SLOW = 120.0
"""Seconds that a question may take: a loaded emulated processor needs 30 s to start
the CLI, and an abandoned question still takes its time there."""
LOOK = 0.5
"""Seconds between two questions while a test waits: each costs a start of the CLI on the device."""
LABELS = {"access-point": "wifi-log", "camera": "camera", "detector": "docker"}
"""The label of each role."""
BOOT = 300.0
"""Seconds that a real device may take from power-on to SSH."""


class Powered(Machine, Protocol):
    """A machine whose power can be cut. Both calls raise DeviceError."""

    def cut(self) -> None:
        """Take its power away."""
        ...

    def power(self) -> None:
        """Give it back, and return at once."""
        ...


@dataclass
class Device:
    """One device. `cut` says whether its power can be cut; `arch` is known once it was reached."""

    name: str
    machine: Powered
    mark: Mark
    what: str
    roles: Sequence[str] = ()
    labels: dict[str, str] = field(default_factory=dict)
    variant: str = ""
    cut: bool = True
    arch: str = ""
    installed: bool = False

    def agent(self, *words: str, input: bytes = b"", timeout: float = 60.0) -> Done:
        """Run `edge-agent` on it."""
        return self.machine.run(shlex.join(["edge-agent", *words]), input, timeout=timeout)

    def json(self, *words: str, timeout: float = 60.0) -> Any:
        """The JSON that `edge-agent … --json` prints; raises Failed."""
        return json.loads(self.agent(*words, "--json", timeout=timeout).text())

    def status(self) -> dict[str, Any] | None:
        """The answer of `status`; None while the device or its agent does not answer."""
        try:
            done = self.agent("status", "--json", timeout=SLOW)
            found: dict[str, Any] = json.loads(done.stdout) if done.code == 0 else {}
        except (DeviceError, subprocess.TimeoutExpired, ValueError):
            return None
        return found or None

    def linked(self) -> set[str]:
        """The names of the other nodes that its agent is linked with now."""
        status = self.status()
        nodes = [] if status is None else status["nodes"]
        return {n["name"] for n in nodes if n["alive"] and n["linked"] and not n["self"]}


def until(what: str, look: Callable[[], T | None], timeout: float) -> T:
    """Call `look` until it returns something true, and return that; raises DeviceError after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > end:
            raise DeviceError(f"it did not happen within {timeout:.0f} s: {what}")
        time.sleep(LOOK)
    return found


class RealMachine:
    """A device of the inventory as a `Machine`; its restart is a power cut by its switchable socket."""

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.entry = entry
        known = folder / f"{entry.name}.known_hosts"
        known.write_text(entry.known_host)
        key = Path(entry.key).expanduser() if entry.key else None
        self.ssh = Ssh(
            entry.host, known, key, user=entry.user, port=entry.port, pinned=True, become=entry.become
        )  # fmt: skip

    def run(self, command: str | list[str], input: bytes = b"", *, timeout: float = 60.0) -> Done:
        """See `Machine`."""
        return self.ssh.run(command, input, timeout=timeout)

    def put(self, what: bytes | Path, to: str, *, mode: int = 0o644) -> None:
        """See `Machine`."""
        self.ssh.put(what, to, mode=mode)

    def get(self, path: str) -> bytes:
        """See `Machine`."""
        return self.ssh.get(path)

    def restart(self) -> None:
        """See `Machine`; raises DeviceError without a socket, and where its commands fail."""
        self.cut()
        self.power()
        self.ssh.wait(BOOT)

    def cut(self) -> None:
        """See `Powered`; returns after the socket's pause."""
        power = self._socket()
        self._switch(power.off)
        time.sleep(parse_duration(power.pause))

    def power(self) -> None:
        """See `Powered`."""
        self._switch(self._socket().on)

    def _socket(self) -> Power:
        if self.entry.power is None:
            raise DeviceError(f"{self.entry.name} has no switchable socket in the inventory")
        return self.entry.power

    def _switch(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60.0)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"the socket of {self.entry.name} cannot be switched: {error}") from None
        if done.returncode:
            raise DeviceError(f"the socket of {self.entry.name} cannot be switched: {done.stderr.strip()[-500:]}")

    def close(self) -> None:
        """See `Machine`. The device stays as it is."""


def real(entry: Entry, folder: Path) -> Device:
    """The device of an entry of the inventory; its roles that pipelines need are labels too."""
    labels = {**{LABELS[r]: "true" for r in entry.roles if r in LABELS}, **entry.labels}
    what = f"{', '.join(entry.roles) or 'device'} at {entry.host}"
    return Device(
        entry.name, RealMachine(entry, folder), "real", what, entry.roles, labels, entry.variant,
        cut=entry.power is not None,
    )  # fmt: skip
