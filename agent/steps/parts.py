"""The parts of a node that its steps work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.delivery import Context
from agent.executors import Policy
from agent.model.step_kind import Kinds
from agent.model.task import BlobWriter, LogOf
from agent.sources import Reception
from agent.steps.alerts import Alerts
from agent.steps.device_records import DeviceRecords
from agent.steps.programs import StepPrograms


class Photo(Protocol):
    """One photo of a camera."""

    @property
    def jpeg(self) -> bytes: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class Cameras(Protocol):
    """The cameras of this node."""

    def names(self) -> list[str]: ...
    def about_labels(self, name: str) -> dict[str, Any]: ...
    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Awaitable[None]]) -> None: ...


LogSpec = str | dict[str, Any]
"""A log as written in a pipeline or in the configuration; an argument of `agent.sources.open_source`."""


@dataclass
class Logs:
    """The logs of this node: those that `tail: auto` means, which change with the configuration, and the folder for positions.

    `reception` is for logs that other devices send.
    """

    auto: Sequence[LogSpec]
    state: Path
    reception: Reception = field(default_factory=Reception)


@dataclass(frozen=True)
class Parts:
    """The parts of one node. `log_of` gives the log of (pipeline, version, step)."""

    context: Context
    mesh_id: str
    policy: Policy
    programs: StepPrograms
    cameras: Cameras
    devices: DeviceRecords
    alerts: Alerts
    writer: BlobWriter
    log_of: LogOf
    logs: Logs

    @property
    def kinds(self) -> Kinds:
        """The kinds of steps that this node knows."""
        return self.context.definitions.kinds
