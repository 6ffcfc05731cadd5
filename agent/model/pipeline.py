"""Pipelines: named steps, each with the settings of its kind, with selectors and edges.

An applied pipeline's signed document is the JSON of these structs, with modules as CIDs and images as image ids.
`agent/definitions/loading.py` makes them from YAML; a field with a `Meta` is a key of that file. Durations are seconds.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from agent.model.event import event_id
from agent.model.keys import duration, key

DAY = 86400.0
DEFAULT_DEADLINE = 3600.0
MAX_STEPS = 64
NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
"""The name of a pipeline or a step; use `fullmatch`, since `$` also matches before a newline at the end."""

Pick = Literal["all", "one", "here"]
T = TypeVar("T")


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


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One step; `task` is the struct of its kind's settings as builtins (see `agent.model.step_kind`)."""

    name: str
    kind: str
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

    def task_as(self, struct: type[T]) -> T:
        """The task as its struct; raises msgspec.ValidationError where it is another one."""
        return msgspec.convert(self.task, struct)


def program_name(pipeline: str, step: str) -> str:
    """The name of a step's program in labels of containers and in the capacity of nodes."""
    return f"{pipeline}-{step}"


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
