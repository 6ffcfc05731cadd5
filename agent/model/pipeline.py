"""Pipelines: named steps, each a task or a source, with selectors and edges.

An applied pipeline's signed document is the JSON of these structs, with modules as CIDs and images as image ids.
`agent/definitions/loading.py` makes them from YAML; a field with a `Meta` is a key of that file. Durations are seconds.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from agent.model.event import event_id
from agent.model.keys import duration, key
from agent.model.task import CameraTask, DockerTask, ProcessTask, WasmTask

DAY = 86400.0
DEFAULT_DEADLINE = 3600.0
SINK_DEADLINE = 7 * DAY
MAX_STEPS = 64
NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
"""The name of a pipeline or a step; use `fullmatch`, since `$` also matches before a newline at the end."""

Pick = Literal["all", "one", "here"]
Kind = Literal["tail", "wasm", "docker", "process", "camera", "presence", "sink"]


class Window(msgspec.Struct, frozen=True, omit_defaults=True):
    """`dedupe` and `cooldown`: the first event of a key passes, others are dropped for `seconds` (`for` in a file)."""

    key: Annotated[
        list[str],
        key(
            "events with equal values are the same",
            ["root"],
            "a JMESPath expression or a list of them",
            form="expressions",
        ),
    ]
    seconds: Annotated[float, duration("for how long", "5m", name="for")]


class TailTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Follow a log through a source filter. `source` is an argument of `agent.sources.open_source`."""

    source: str | dict[str, Any]
    wasm: WasmTask


class PresenceTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One record per device: a join after `away` seconds without a sign of life is an arrival.

    Joins within `settle` seconds of an access point's or its agent's restart only refresh the record.
    """

    away: Annotated[float, duration("silence after which a join is an arrival", "30m")] = 1800.0
    settle: Annotated[float, duration("time after a restart in which joins only refresh", "3m")] = 180.0


class SinkTask(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Send an alert to the sink; `photo` names the photo that goes with it."""

    photo: Annotated[Literal["labelled", "none"], key("the photo that leaves", "labelled")] = "labelled"


class StepKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of step: the struct of its task, its key in a file, and the defaults of a step of this kind."""

    task: type[msgspec.Struct]
    key: msgspec.Meta
    pick: Pick = "one"
    where: str = ""
    deadline: float = DEFAULT_DEADLINE
    is_source: bool = False


KINDS: dict[Kind, StepKind] = {
    "tail": StepKind(
        task=TailTask,
        key=key(
            "follow a log (with `wasm` as its filter)",
            "auto",
            "a path, auto, journald, logread or {syslog: …}",
            form="source",
        ),
        pick="all",
        is_source=True,
    ),
    "wasm": StepKind(task=WasmTask, key=key("run a WASM module", {"module": "filters/rescale.wasm"}), pick="here"),
    "docker": StepKind(task=DockerTask, key=key("run a container", {"image": "edge/detector:1"})),
    "process": StepKind(
        task=ProcessTask,
        key=key("run a local executable, where the node's owner allows it", {"command": ["/usr/bin/prog"]}),
    ),
    "camera": StepKind(
        task=CameraTask, key=key("take photos with every camera of the node", {"shots": 2, "every": "2s"}), pick="all"
    ),
    "presence": StepKind(task=PresenceTask, key=key("turn joins into arrivals", {"away": "30m"})),
    "sink": StepKind(
        task=SinkTask,
        key=key("send an alert to the sink", {"photo": "labelled"}),
        where="uplink=true",
        deadline=SINK_DEADLINE,
    ),
}


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One step; `task` is the struct of its `kind` as builtins (see `task_of`)."""

    name: str
    kind: Kind
    task: dict[str, Any]
    after: Annotated[
        list[str], key("the steps whose events this step takes", "wifi", "a step or a list of steps", form="texts")
    ] = []
    when: Annotated[
        str,
        key(
            "events for which it is false, null or empty are skipped",
            "!data.device.known",
            "a JMESPath expression",
            form="expression",
        ),
    ] = ""
    where: Annotated[str, key("nodes that may run it; empty: all", "camera=true", "a selector", form="selector")] = ""
    pick: Annotated[Pick, key("which of the matching nodes", "one")] = "one"
    prefer: Annotated[
        str, key("matching nodes that come first under `pick: one`", "gpu=true", "a selector", form="selector")
    ] = ""
    dedupe: Annotated[Window | None, key("drop events whose key was seen", {"key": ["data.mac"], "for": "10s"})] = None
    cooldown: Annotated[
        Window | None, key("suppress events whose key passed lately", {"key": ["root"], "for": "5m"})
    ] = None
    emit: Annotated[
        list[str], key("types that go on; empty: all", ["wifi.client.joined"], "a list of event types")
    ] = []
    deadline: Annotated[float, duration("age of the root event above which events expire", "15s")] = DEFAULT_DEADLINE
    attempts: Annotated[int, key("runs before an event has failed", 3, ge=1, le=10)] = 3

    def task_of(self) -> Any:
        """The task as its struct."""
        return msgspec.convert(self.task, KINDS[self.kind].task)

    @property
    def module(self) -> str:
        """The CID, or the path as written, of the step's WASM module; empty for other kinds of steps."""
        task = self.task.get("wasm") if self.kind == "tail" else self.task
        return str(task.get("module", "")) if isinstance(task, dict) and self.kind in ("tail", "wasm") else ""

    @property
    def is_source(self) -> bool:
        """Whether the step makes events by itself."""
        return KINDS[self.kind].is_source


class Keep(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long photos stay on the nodes once their branch has ended, in seconds."""

    matched: Annotated[float, duration("photos that led to an alert", "7d")] = 7 * DAY
    unmatched: Annotated[float, duration("photos that led to nothing", 0)] = 0.0


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
