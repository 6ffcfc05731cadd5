"""A demo's house as anybody may ask it who can read its folder: its agents' APIs, its log, its sink."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from agent.api import Client, path_of
from agent.errors import EdgeError, Unreachable

T = TypeVar("T")

NODES = ("gpu", "ap", "porch", "garage")
"""In the order of their start: the first makes the mesh and lets the others in."""
CAMERAS = ("porch", "garage")
KNOWN = "ada"
"""A device that the house knows from the start."""
PIPELINE = "person-at-the-door"
HEAR = 30.0
"""Seconds in which every agent must have heard of a device."""
LOOK = 0.1


class DemoError(EdgeError):
    """The demo did not go as it should; the message has the last lines of the logs that may say why."""

    code = "demo"


def wait_for(what: str, look: Callable[[], T | None], timeout: float, alive: Callable[[], object] | None = None) -> T:
    """What `look` returns once it is not None; raises DemoError when that takes too long. `alive` may raise, too."""
    end = time.monotonic() + timeout
    while (found := look()) is None:
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise DemoError(f"{what}: not within {timeout:.0f} s", hint="the agents' logs may say why")
        time.sleep(LOOK)
    return found


class House:
    """The agents by their sockets. `began` is when the demo started, in seconds of the monotonic clock."""

    def __init__(self, folder: Path, began: float) -> None:
        self.folder, self.began = folder, began
        self.log = folder / "ap" / "messages"
        self.sockets = {name: folder / name / "agent.sock" for name in NODES}
        self.sink_data = folder / "sink"

    def ask(self, node: str, verb: str, path: str, *arguments: Any, timeout: float = 20.0, **parameters: Any) -> Any:
        """A question to one agent's API."""
        with Client(self.sockets[node], timeout=timeout) as client:
            return getattr(client, verb)(path, *arguments, **parameters)

    def status(self, node: str) -> dict[str, Any] | None:
        """One agent's status; None while it does not answer."""
        try:
            found: dict[str, Any] = self.ask(node, "get", "/v1/status")
        except Unreachable:
            return None
        return found

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The status of all agents that answer, by name."""
        return {name: s for name in NODES if (s := self.status(name)) is not None}

    def events(self, node: str, kind: str = "", limit: int = 500) -> list[dict[str, Any]]:
        """The newest events that passed a node, oldest first."""
        try:
            with Client(self.sockets[node], timeout=20.0) as client:
                return list(client.stream("/v1/events", limit=limit, type=kind or None))
        except Unreachable:
            return []

    def device(self, name: str) -> str:
        """The MAC of a device with this name that the house knows; empty where there is none."""
        rows = self.ask("gpu", "get", "/v1/devices")
        return next((d["id"] for d in rows if d.get("name", "").lower() == name.lower() and d["known"]), "")

    def know(self, name: str, mac: str) -> None:
        """Tell the house of a device, and wait until every agent has heard."""
        self.ask("gpu", "post", path_of("devices", mac), {"name": name, "known": True})

        def heard() -> bool | None:
            return all(self._knows(node, mac) for node in NODES) or None

        wait_for(f"every agent knows {name}", heard, HEAR)

    def _knows(self, node: str, mac: str) -> bool:
        return any(d["id"] == mac and d["known"] for d in self.ask(node, "get", "/v1/devices"))
