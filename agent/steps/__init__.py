"""The kinds of steps: what each does with one event on this node."""

from agent.steps.kinds import StepKinds
from agent.steps.presence import DeviceInfo, Presence
from agent.steps.tail import TailRunner

__all__ = ["DeviceInfo", "Presence", "StepKinds", "TailRunner"]
