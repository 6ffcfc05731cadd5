"""Kinds of steps, as pipeline files, delivery and the API see them; `agent/steps` has a file for each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

import msgspec

from agent.errors import ConfigError
from agent.model.event import Event
from agent.model.node import NodeRecord, Reserved
from agent.model.pipeline import DEFAULT_DEADLINE, Pick, Step
from agent.model.task import PROGRAMS, DockerTask, ProgramTask, Task, WasmTask, reserves

BY_KIND = ("where", "pick", "deadline")
"""Keys of a step whose default its kind states."""


class Names(Protocol):
    """Finds what the names in a pipeline file stand for when the pipeline is applied."""

    async def module(self, path: str) -> str:
        """The CID of the module; raises PipelineError."""
        ...

    async def image(self, step: Step, name: str) -> tuple[str, bool]:
        """The id of the image on operators or on the nodes that may run the step, and whether an operator has it; raises NotFound."""
        ...


class WrongSetting(ConfigError):
    """Settings of a step that do not go together; `at` is the key in the file and the keys above it within the step."""

    def __init__(self, message: str, *at: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.at = at


class StepKind:
    """One kind of step: a subclass states what differs from these defaults, and one object of it stands for the kind."""

    name: str
    """The kind's key in a pipeline file."""
    task: type[Task]
    """The struct of its settings; it names the key of the owner's policy too."""
    about: msgspec.Meta
    """The description of the kind's key (`agent.model.keys.key`), with the bounds of `value`."""
    value = ""
    """The setting that the kind's key holds; empty where it holds a mapping of all settings."""
    beside = ""
    """Another kind whose key stands beside this kind's key: its settings are the setting of that name."""
    where = ""
    pick: Pick = "one"
    deadline = DEFAULT_DEADLINE
    is_source = False
    """Whether its steps make events by themselves."""
    is_alert = False
    """Whether the events that its steps deliver have left the building as alerts."""

    def check(self, task: Any) -> None:
        """Raise WrongSetting for settings that cannot work together. A file is checked, an applied pipeline is not."""

    def decider_key(self, event: Event) -> str:
        """The key that alone chooses the node of an event; empty where nodes are weighed by their capacity.

        The event's data may be anything that a program can answer.
        """
        return ""

    def remembers(self, key: str) -> bool:
        """Whether it keeps records of this key, under `KIND:PIPELINE/STEP`, with the deciders of its events."""
        return False

    @cached_property
    def programs(self) -> dict[str, type[ProgramTask]]:
        """The settings that are programs, with their structs; the name is empty where the step itself is the program."""
        fields = {f.name: _bare(f.type) for f in msgspec.structs.fields(self.task)}
        return {name: t for name, t in {"": self.task, **fields}.items() if t in PROGRAMS}

    @property
    def is_program(self) -> bool:
        """Whether its steps are a program, which answers each event."""
        return "" in self.programs

    def programs_of(self, step: Step) -> list[tuple[type[ProgramTask], dict[str, Any]]]:
        """The programs of a step: the struct of each, and its settings as the step has them."""
        tasks = ((t, step.task.get(name) if name else step.task) for name, t in self.programs.items())
        return [(t, task) for t, task in tasks if isinstance(task, dict)]

    def modules(self, step: Step) -> list[str]:
        """The WASM modules of a step: CIDs, or paths as they are written."""
        return [str(task.get("module", "")) for t, task in self.programs_of(step) if t is WasmTask]

    def images(self, step: Step) -> list[str]:
        """The images of a step: ids, or names as they are written."""
        return [str(task.get("image", "")) for t, task in self.programs_of(step) if t is DockerTask]

    def reserves(self, step: Step) -> Reserved:
        """The reservation of the running programs of a step; raises msgspec.ValidationError."""
        each = [reserves(msgspec.convert(task, t)) for t, task in self.programs_of(step)]
        return Reserved(sum(r.cpus for r in each), sum(r.memory for r in each), sum(r.gpus for r in each))

    def lacking(self, step: Step, nodes: Sequence[NodeRecord]) -> list[str]:
        """A line for each thing that a step names and none of these nodes has: a camera, a number of GPUs."""
        wanted = self.reserves(step).gpus
        if wanted <= max((n.capacity.all_gpus for n in nodes), default=0):
            return []
        return [f"no live node that may run it has {wanted} GPU{'s' if wanted > 1 else ''}"]

    async def resolve(self, step: Step, names: Names) -> dict[str, Any]:
        """The step's settings with every name that may mean something else tomorrow replaced; raises as `names`."""
        task = dict(step.task)
        for setting, struct in self.programs.items():
            if not isinstance(written := task[setting] if setting else task, dict):
                continue
            program = await _resolved(struct, dict(written), step, names)
            task = task | {setting: program} if setting else program
        return task


def without_meta(annotation: Any) -> Any:
    """The type of a field, without its `Meta`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _bare(annotation: Any) -> Any:
    """The type of a setting, without its `Meta` and without None; raises TypeError where a program is deeper in it."""
    kind = without_meta(annotation)
    if get_origin(kind) in (Union, UnionType):
        some = [without_meta(t) for t in get_args(kind) if t is not NoneType]
        kind = some[0] if len(some) == 1 else kind
    if kind not in PROGRAMS and any(p.__name__ in repr(kind) for p in PROGRAMS):
        raise TypeError(f"a program is a setting by itself, or None: not within {kind}")
    return kind


async def _resolved(struct: type[ProgramTask], task: dict[str, Any], step: Step, names: Names) -> dict[str, Any]:
    if struct is WasmTask:
        task["module"] = await names.module(task["module"])
    elif struct is DockerTask and str(task["image"]).startswith("sha256:"):
        task["vouched"] = True
    elif struct is DockerTask:
        name = str(task["image"])
        (task["image"], vouched), task["name"] = await names.image(step, name), name
        task |= {"vouched": True} if vouched else {}
    return task


class Kinds:
    """The table of kinds, sources first, then programs; it never changes."""

    def __init__(self, kinds: Iterable[StepKind]) -> None:
        """Raises ValueError for a name that is no word, that two kinds share, or that is a key of every step.

        Raises TypeError for a program in its settings that is neither a setting by itself nor None.
        """
        ordered = sorted(kinds, key=lambda k: (not k.is_source, not k.is_program))
        self._kinds = {k.name: k for k in ordered}
        common = {f.encode_name for f in msgspec.structs.fields(Step)}
        for kind in ordered:
            _ = kind.programs
            if not kind.name.isidentifier():
                raise ValueError(f"{kind.name!r} cannot be the name of a kind of step")
        if len(self._kinds) < len(ordered) or common & self._kinds.keys():
            raise ValueError(
                f"two kinds share a name, or one has the name of a key of every step: {', '.join(k.name for k in ordered)}"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def __getitem__(self, name: str) -> StepKind:
        return self._kinds[name]

    def values(self) -> Iterable[StepKind]:
        """The kinds in their order."""
        return self._kinds.values()

    def of(self, step: Step) -> StepKind:
        """The kind of a step."""
        return self._kinds[step.kind]

    def task_of(self, step: Step) -> Task:
        """The step's settings as the struct of its kind; raises msgspec.ValidationError."""
        return step.task_as(self.of(step).task)
