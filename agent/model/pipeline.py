"""Pipelines: named steps, each a task or a source, with selectors and edges.

These structs are what an applied pipeline's signed document holds (JSON), with modules as CIDs and images as image ids.
`agent/definitions/loading.py` makes them from YAML. Durations are seconds.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import msgspec

from agent.model.event import event_id
from agent.model.task import CameraTask, DockerTask, ProcessTask, WasmTask

DAY = 86400.0
DEFAULT_DEADLINE = 3600.0
SINK_DEADLINE = 7 * DAY

Pick = Literal["all", "one", "here"]
Kind = Literal["tail", "wasm", "docker", "process", "camera", "presence", "sink"]
SOURCES: frozenset[str] = frozenset({"tail"})


class Window(msgspec.Struct, frozen=True, omit_defaults=True):
    """`dedupe` and `cooldown`: the first event of a key passes, others are dropped for `seconds`."""

    key: list[str]
    seconds: float


class TailTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Follow a log through a source filter. `source` is what `agent.sources.open_source` takes."""

    source: str | dict[str, Any]
    wasm: WasmTask


class PresenceTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record per device: a join after `away` seconds without a sign of life is an arrival.

    Joins within `settle` seconds of an access point's or its agent's restart only refresh the record.
    """

    away: float = 1800.0
    settle: float = 180.0


class SinkTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Send an alert to the sink; `photo` says which photo goes with it: `labelled` or `none`."""

    photo: Literal["labelled", "none"] = "labelled"


Task = TailTask | WasmTask | DockerTask | ProcessTask | CameraTask | PresenceTask | SinkTask
_TASKS: dict[str, type[Any]] = {
    "tail": TailTask,
    "wasm": WasmTask,
    "docker": DockerTask,
    "process": ProcessTask,
    "camera": CameraTask,
    "presence": PresenceTask,
    "sink": SinkTask,
}


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One step; `task` is the struct of its `kind` as builtins (see `task_of`)."""

    name: str
    kind: Kind
    task: dict[str, Any]
    after: list[str] = []
    when: str = ""
    where: str = ""
    pick: Pick = "one"
    prefer: str = ""
    dedupe: Window | None = None
    cooldown: Window | None = None
    emit: list[str] = []
    deadline: float = DEFAULT_DEADLINE
    attempts: int = 3

    def task_of(self) -> Any:
        """The task as its struct."""
        return msgspec.convert(self.task, _TASKS[self.kind])

    @property
    def is_source(self) -> bool:
        """Whether the step makes events by itself."""
        return self.kind in SOURCES


class Keep(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long photos stay on the nodes once their branch has ended, in seconds."""

    matched: float = 7 * DAY
    unmatched: float = 0.0


class Pipeline(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, dict=True):
    """A checked pipeline. `version` names its exact content; `text` is the YAML it came from."""

    name: str
    steps: list[Step]
    keep: Keep = Keep()
    text: str = ""
    paused_until: float = 0.0

    @cached_property
    def version(self) -> str:
        """A hash of what runs: equal content has the same version wherever it is applied."""
        return event_id("pipeline", msgspec.json.encode([self.name, self.steps, self.keep]))

    def step(self, name: str) -> Step | None:
        """The step of that name."""
        return next((s for s in self.steps if s.name == name), None)

    def children(self, name: str) -> list[Step]:
        """The steps that take this step's events."""
        return [s for s in self.steps if name in s.after]


def execution(pipeline: str, step: str) -> str:
    """The name under which the log lines of a step's programs cross the mesh."""
    return f"{pipeline}.{step}"
