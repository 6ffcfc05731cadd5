"""The kinds of steps: the work of each kind for one event on this node."""

from agent.steps.kinds import StepKinds
from agent.steps.presence import DeviceInfo, Presence
from agent.steps.tail import TailRunner

__all__ = ["DeviceInfo", "Presence", "StepKinds", "TailRunner"]
