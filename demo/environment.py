"""The demo's environment: files of the checkout, a folder, ports; and the file by which another shell finds the demo."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import agent
from agent import files
from agent.errors import ConfigError, NotFound

HOST = "127.0.0.1"
IMAGE = "edge/detector:1"
MOST_SOCKET_PATH = 100
"""Longest path of a unix socket in bytes, with some room (107, unix(7))."""


class Checkout:
    """The files of this program's checkout that the demo needs; raises NotFound if a file is missing."""

    def __init__(self) -> None:
        self.root = Path(agent.__file__).resolve().parent.parent
        self.pipeline = self._needed("examples/person-at-the-door.yaml")
        self.scenes = self._needed("build/scenes")
        self._needed("build/filters")
        self.model = self._needed("build/models/nanodet/manifest.json")

    def _needed(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            raise NotFound(
                f"the demo needs {name}, which is not in {self.root}",
                hint="run make demo in a checkout: it builds the missing files and starts the demo",
                code="demo.set-up",
            )
        return path


class Running(msgspec.Struct):
    """The facts about a running demo for another shell, without secrets."""

    pid: int
    started: int
    """The start time of the process in clock ticks; it distinguishes the demo from another process with the same pid."""
    folder: str


def demo_folder(chosen: Path | None) -> Path:
    """A new private folder: a temporary one, or the chosen one, which must be empty; raises ConfigError."""
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="edge-demo-"))
    folder = chosen.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", hint="give --dir a new or empty folder")
    except OSError as e:
        raise ConfigError(f"cannot use {folder}: {e.strerror}", hint="choose another folder with --dir") from e
    if len(os.fsencode(folder)) > MOST_SOCKET_PATH - len("/garage/agent.sock"):
        raise ConfigError(f"the path {folder} is too long for unix sockets", hint="give --dir a shorter path")
    return folder


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    files.write_private(path, text.encode())


# -- finding a running demo ----------------------------------------------------------------------------------------


def runtime_folder() -> Path:
    """This user's folder of running demos, 0700; raises ConfigError if another user owns it or may read it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "edge-agent-demo" if base else Path(tempfile.gettempdir()) / f"edge-agent-demo-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ConfigError(f"{folder} is not your private folder", hint="remove it, or set XDG_RUNTIME_DIR")
    return folder


@contextlib.contextmanager
def announced(running: Running) -> Iterator[None]:
    """Other shells find the demo while the block runs."""
    file = runtime_folder() / f"{running.pid}.json"
    write_private(file, msgspec.json.encode(running).decode())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find_running() -> Running:
    """The demo that was started last and still runs; raises NotFound."""
    found: list[Running] = []
    for file in runtime_folder().glob("*.json"):
        try:
            running = msgspec.json.decode(file.read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            continue
        if start_time(running.pid) == running.started:
            found.append(running)
        else:
            file.unlink(missing_ok=True)
    if not found:
        raise NotFound("no demo is running", hint="start it with make demo", code="demo.not-running")
    return max(found, key=lambda r: r.started)


def start_time(pid: int) -> int:
    """The start time of a process in clock ticks since the boot (proc(5), field 22); 0 if the process does not exist."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def yaml_of(value: dict[str, Any]) -> str:
    """The text of a configuration file: JSON is YAML 1.2."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
