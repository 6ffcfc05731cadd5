"""The steps of one node: the work of each, whatever its kind."""

from __future__ import annotations

from agent.delivery import StepKey, Work
from agent.errors import Refused, StepFailed
from agent.model.pipeline import Pipeline, Step
from agent.steps.kind import EventKind, SourceKind
from agent.steps.parts import Parts


class NodeSteps:
    """Opens the work of steps; the programs that they started are closed with it."""

    def __init__(self, parts: Parts) -> None:
        """Raises ValueError for a kind whose policy key the policy does not have."""
        self.parts = parts
        for kind in parts.kinds.values():
            if kind.task.policy not in ("", *parts.policy.__struct_fields__):
                raise ValueError(f"{kind.name}: there is no policy.{kind.task.policy}")

    async def make(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""
        kind = self.parts.kinds.of(step)
        if not isinstance(kind, EventKind):
            raise Refused(f"{step.kind} takes no events", hint="only sources have this kind")
        self.check(step)
        try:
            return await kind.open(self.parts, pipeline, step)
        except BaseException:
            await self.stop((pipeline.name, pipeline.version, step.name))  # it may have started a program
            raise

    def check(self, step: Step) -> None:
        """Raise Refused where the owner of this node does not allow the step."""
        self.parts.policy.check(self.parts.kinds.task_of(step))

    def source_kind(self, step: Step) -> SourceKind | None:
        """The kind of a step that makes events by itself; None for other steps."""
        kind = self.parts.kinds.of(step)
        return kind if isinstance(kind, SourceKind) else None

    def note(self, key: StepKey, text: str) -> None:
        """Write a line of the agent's own into the step's log."""
        self.parts.log_of(*key).line(text, "agent")

    def start_failure(self, key: StepKey) -> StepFailed | None:
        """See StepMaker."""
        return self.parts.programs.start_failure(key)

    async def stop(self, key: StepKey) -> None:
        """Stop the program of (pipeline, version, step), if it has one."""
        await self.parts.programs.stop(key)

    async def close(self) -> None:
        """Stop every program."""
        await self.parts.programs.close()
