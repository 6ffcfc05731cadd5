"""The table of kinds of steps that take events: each kind and the module that does its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.delivery import Context, StepKey, Work
from agent.errors import Refused
from agent.model.pipeline import Pipeline, Step
from agent.model.task import BlobWriter, LogOf
from agent.steps.camera import Cameras, CameraSteps
from agent.steps.presence import Presence, PresenceSteps
from agent.steps.program import ProgramSteps
from agent.steps.sink import SinkSteps, Submit

if TYPE_CHECKING:
    from agent.executors import Executors


class KindOfStep(Protocol):
    """Makes the work of the steps of one kind."""

    async def open(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""
        ...


class StepKinds:
    """The kinds of steps that take events; the programs that they started are closed with it."""

    def __init__(
        self,
        context: Context,
        *,
        mesh_id: str,
        executors: Executors,
        cameras: Cameras | None,
        presence: Presence,
        path_of: Callable[[str], Path],
        writer: BlobWriter,
        submit: Submit,
        log_of: LogOf,
    ) -> None:
        self.presence = presence
        self._log_of = log_of
        self.programs = ProgramSteps(context, executors, path_of, log_of)
        self.camera = CameraSteps(context, cameras, writer, self.programs, log_of)
        self.sink = SinkSteps(context, mesh_id, submit)
        self._kinds: dict[str, KindOfStep] = {
            "camera": self.camera,
            "presence": PresenceSteps(presence),
            "sink": self.sink,
            "wasm": self.programs,
            "docker": self.programs,
            "process": self.programs,
        }

    async def make(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""
        kind = self._kinds.get(step.kind)
        if kind is None:
            raise Refused(f"{step.kind} takes no events", hint="only sources have this kind")
        return await kind.open(pipeline, step)

    def note(self, key: StepKey, text: str) -> None:
        """Write a line of the agent's own into the step's log."""
        self._log_of(*key).line(text, "agent")

    async def stop(self, key: StepKey) -> None:
        """Stop the program of (pipeline, version, step), if it has one."""
        await self.programs.stop(key)

    async def close(self) -> None:
        """Stop every program."""
        await self.programs.close()
