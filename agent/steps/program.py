"""Steps that are a program: it gets events as lines and files, and answers them (docs/step-contract.md)."""

from __future__ import annotations

from agent.delivery import Work
from agent.model.keys import key
from agent.model.pipeline import Pick, Pipeline, Step
from agent.model.task import DockerTask, ProcessTask, ProgramTask, WasmTask
from agent.steps.kind import EventKind
from agent.steps.parts import Parts


class ProgramKind(EventKind):
    """Runs a program of one sort."""

    def __init__(
        self, name: str, task: type[ProgramTask], about: str, example: dict[str, object], *, pick: Pick = "one"
    ):
        self.name = name
        self.task = self.program = task
        self.about = key(about, example)
        self.pick = pick

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        return await parts.programs.open(pipeline, step, step.task_as(self.program))


KINDS = (
    ProgramKind("wasm", WasmTask, "run a WASM module", {"module": "edge/rescale"}, pick="here"),
    ProgramKind("docker", DockerTask, "run a container", {"image": "edge/detector:1"}),
    ProgramKind(
        "process",
        ProcessTask,
        "run a local executable, where the node's owner allows it",
        {"command": ["/usr/bin/prog"]},
    ),
)
