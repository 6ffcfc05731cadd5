"""The kinds of steps: what each does with one event on this node."""

from agent.steps.presence import DeviceInfo, Presence
from agent.steps.tail import TailRunner
from agent.steps.work import Workshop

__all__ = ["DeviceInfo", "Presence", "TailRunner", "Workshop"]
