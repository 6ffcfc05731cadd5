"""Events and nodes for tests of single parts."""

from __future__ import annotations

from typing import Any

from agent.model.event import Event, event_id
from agent.model.node import Capacity, NodeRecord


def event(ident: str = "", kind: str = "wifi.client.joined", *, node: str = "ap", **fields: Any) -> Event:
    """An event; `data` and the other fields as given."""
    made = {"data": {}, "pipeline": "p", "step": "log", "time": "2026-03-04T07:22:10.000Z", **fields}
    return Event(id=ident or event_id("test"), source=f"/{node}/p/{made['step']}", type=kind, **made)


def record(
    name: str, *, free: int = 100, cpus: float = 1.0, memory: int = 0, gpus: int = 0, **labels: str
) -> NodeRecord:
    """A live node; label keys with `_` stand for `-`."""
    given = {k.replace("_", "-"): v for k, v in labels.items()}
    capacity = Capacity(cpus=cpus, memory=memory, free=free, gpus=gpus)
    return NodeRecord(id=name, name=name, labels={**given, "node": name, "id": name}, capacity=capacity)
