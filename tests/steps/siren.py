"""A kind of step that the agent does not have: everything about it is in this file, as for a kind in agent/steps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from agent.delivery import Emit, Made, Row, Work
from agent.model.event import Event
from agent.model.keys import duration, key
from agent.model.pipeline import Pipeline, Step
from agent.model.step_kind import WrongSetting
from agent.model.task import StepOutput, Task, WasmTask
from agent.steps import EventKind, Parts


class SirenTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """Sound a siren after a program has looked at the event."""

    policy: ClassVar[str] = "process"
    tone: Annotated[Literal["low", "high"], key("the tone", "high")] = "low"
    seconds: Annotated[float, duration("for how long", "5s", ge=1.0)] = 5.0
    check: Annotated[WasmTask, key("the program that must answer first", {"module": "check.wasm"})]


class Siren(EventKind):
    """Sounds a siren."""

    name = "siren"
    task = SirenTask
    about = key("sound a siren", {"tone": "high", "check": {"module": "check.wasm"}})
    where = "node!=hall"
    deadline = 120.0

    def check(self, task: SirenTask) -> None:
        """See StepKind."""
        if task.tone == "high" and task.seconds > 60:
            raise WrongSetting("a high tone for more than a minute", "siren", "seconds", hint="choose the low tone")

    def decider_key(self, event: Event) -> str:
        """See StepKind: the same floor always has the same siren."""
        return str(event.data.get("floor", ""))

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        task = step.task_as(SirenTask)
        program = await parts.programs.start(pipeline, step, task.check)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            (answer,) = await program.run(parts.programs.input(row.event))
            data = answer.data | {"tone": task.tone, "node": parts.context.node_name}
            return [(StepOutput("siren.sounded", data), ())]

        return work, 1


KINDS = (Siren(),)
