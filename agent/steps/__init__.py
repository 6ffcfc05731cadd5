"""Steps: a file for each kind of step, and what the steps of a node share.

A module that adds kinds has them in its `KINDS`; nothing else names it.
"""

from agent.steps.alerts import Alerts
from agent.steps.camera import photo_data
from agent.steps.device_records import MAX_ADDRESSES, DeviceInfo, DeviceRecords
from agent.steps.every_kind import every_kind
from agent.steps.kind import EventKind, SourceKind, SourceRunner
from agent.steps.learning import learn_of
from agent.steps.node_steps import NodeSteps
from agent.steps.parts import Logs, LogSpec, Parts
from agent.steps.programs import StepPrograms
from agent.steps.source_counts import FoundEvents, SourceCounts

KINDS = every_kind()

__all__ = [
    "KINDS",
    "MAX_ADDRESSES",
    "Alerts",
    "DeviceInfo",
    "DeviceRecords",
    "EventKind",
    "FoundEvents",
    "LogSpec",
    "Logs",
    "NodeSteps",
    "Parts",
    "SourceCounts",
    "SourceKind",
    "SourceRunner",
    "StepPrograms",
    "every_kind",
    "learn_of",
    "photo_data",
]
