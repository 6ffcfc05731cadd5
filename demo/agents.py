"""The demo's agents, reached by the sockets in its folder; the building and `demo poke` use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.api import Client, path_of
from agent.errors import Unreachable
from demo.waiting import wait_for

NODES = ("gpu", "ap", "porch", "garage")
"""In the order of their start: the first makes the mesh and lets the others join."""
CAMERAS = ("porch", "garage")
KNOWN = "ada"
"""The name of a device that is known from the start."""
PIPELINE = "person-at-the-door"
HEAR = 30.0
"""Seconds within which every agent must learn of a device that was made known."""


class Agents:
    """The agents of a demo in `folder`. `began` is the demo's start time, in seconds of the monotonic clock."""

    def __init__(self, folder: Path, began: float) -> None:
        self.folder, self.began = folder, began
        self.log = folder / "ap" / "messages"
        self.sockets = {name: folder / name / "agent.sock" for name in NODES}
        self.sink_data = folder / "sink"

    def ask(self, node: str, verb: str, path: str, *arguments: Any, timeout: float = 20.0, **parameters: Any) -> Any:
        """The answer of one agent's API to `verb` (get, post, …) on `path`; raises EdgeError."""
        with Client(self.sockets[node], timeout=timeout) as client:
            return getattr(client, verb)(path, *arguments, **parameters)

    def status(self, node: str) -> dict[str, Any] | None:
        """The status of one agent; None while it does not answer."""
        try:
            found: dict[str, Any] = self.ask(node, "get", "/v1/status")
        except Unreachable:
            return None
        return found

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The status of all agents that answer, by name."""
        return {name: s for name in NODES if (s := self.status(name)) is not None}

    def events(self, node: str, kind: str = "", limit: int = 500) -> list[dict[str, Any]]:
        """The newest events that passed a node, oldest first; empty while it does not answer."""
        try:
            with Client(self.sockets[node], timeout=20.0) as client:
                return list(client.stream("/v1/events", limit=limit, type=kind or None))
        except Unreachable:
            return []

    def device(self, name: str) -> str:
        """The MAC of the known device with this name; empty if no device has it."""
        rows = self.ask("gpu", "get", "/v1/devices")
        return next((d["id"] for d in rows if d.get("name", "").lower() == name.lower() and d["known"]), "")

    def know(self, name: str, mac: str) -> None:
        """Make a device known, and wait until every agent knows it; raises DemoError."""
        self.ask("gpu", "post", path_of("devices", mac), {"name": name, "known": True})

        def heard() -> bool | None:
            return all(self._knows(node, mac) for node in NODES) or None

        wait_for(f"every agent knows {name}", heard, HEAR)

    def _knows(self, node: str, mac: str) -> bool:
        return any(d["id"] == mac and d["known"] for d in self.ask(node, "get", "/v1/devices"))
