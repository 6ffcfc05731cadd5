"""Tasks: what a step runs. Sizes are bytes and durations seconds once a pipeline is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from agent.errors import StepFailed
from agent.model.event import BlobRef, Event
from agent.model.keys import duration, key, size
from agent.model.node import Reserved

MIB = 1 << 20
IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}\Z")
"""The id of an image: the SHA-256 of its configuration, which names the digests of its layers."""


class Limits(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Limits of one program, always on. A file writes them beside the program's other keys."""

    memory: Annotated[int, size("memory limit", "64MiB", ge=1 << 16)] = 64 * MIB
    timeout: Annotated[float, duration("time for one event", "10s", ge=0.001, le=86400.0)] = 10.0
    stdout: int = 1 * MIB
    stderr: int = 64 * 1024
    outputs: Annotated[int, size("bytes of all files written for one event", "16MiB")] = 16 * MIB
    files: Annotated[int, key("files written for one event", 32, ge=0, le=10_000)] = 32
    cpus: Annotated[float, key("CPU cores (docker)", 2, ge=0.01, le=1024)] = 1.0
    pids: Annotated[int, key("processes (docker)", 64, ge=1, le=1 << 20)] = 64


class Task(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The settings of a step: the base of each kind's struct."""

    policy: ClassVar[str] = ""
    """The key of the owner's policy that allows such a step on a node; empty: every node allows it."""


class WasmTask(Task, omit_defaults=True, frozen=True, kw_only=True):
    """A WASI preview 1 command. `module` is a path in a pipeline file and a CID once applied."""

    policy: ClassVar[str] = "wasm"

    module: Annotated[
        str,
        key(
            "the module, relative to the file, or `edge/NAME`, which comes with the agent; a CID once applied",
            "edge/rescale",
            "a path",
        ),
    ]
    args: Annotated[list[str], key("arguments", ["--max", "640"])] = []
    env: Annotated[dict[str, str], key("environment", {"LANG": "C.UTF-8"})] = {}
    once: Annotated[bool, key("start a fresh program for each event (see the step contract)", True)] = False
    limits: Limits = Limits()


class DockerTask(Task, omit_defaults=True, frozen=True, kw_only=True):
    """A container. `image` is a name in a pipeline file and an image id (`sha256:…`) once applied; `name` is that name then.

    `vouched`: the file has the id, or an operator's engine had the image when the pipeline was signed. Nodes that lack the image
    take it from others only then.
    """

    policy: ClassVar[str] = "docker"

    image: Annotated[str, key("the image; an image id once applied", "edge/detector:1", "an image")]
    args: Annotated[list[str], key("arguments", ["--threshold", "0.4"])] = []
    env: Annotated[dict[str, str], key("environment", {"LANG": "C.UTF-8"})] = {}
    gpus: Annotated[int, key("GPUs asked for", 1, ge=0, le=64)] = 0
    once: Annotated[bool, key("start a fresh program for each event (see the step contract)", True)] = False
    start_timeout: Annotated[
        float, duration("time for the program's start, until it is ready or answers", "5m", ge=0.001, le=86400.0)
    ] = 120.0
    limits: Limits = Limits(memory=1024 * MIB, timeout=30.0, outputs=64 * MIB, cpus=2.0)
    name: str = ""
    vouched: bool = False

    @property
    def shown(self) -> str:
        """The image for messages: its name as written, and the beginning of its id."""
        return f"{self.name} ({self.image[:19]})" if self.name else self.image


class ProcessTask(Task, omit_defaults=True, frozen=True, kw_only=True):
    """A plain executable; refused unless the node's owner allows processes."""

    policy: ClassVar[str] = "process"

    command: Annotated[list[str], key("program and arguments", ["/usr/bin/prog"])]
    env: Annotated[dict[str, str], key("environment", {"LANG": "C.UTF-8"})] = {}
    once: Annotated[bool, key("start a fresh program for each event (see the step contract)", True)] = False
    start_timeout: Annotated[
        float, duration("time for the program's start, until it is ready or answers", "5m", ge=0.001, le=86400.0)
    ] = 120.0
    limits: Limits = Limits(memory=1024 * MIB, timeout=30.0, outputs=64 * MIB)


ProgramTask: TypeAlias = WasmTask | DockerTask | ProcessTask
"""A program: a kind of step by itself, or a setting of another kind."""
PROGRAMS = (WasmTask, DockerTask, ProcessTask)
_USUAL = {
    WasmTask: WasmTask(module="").limits,
    DockerTask: DockerTask(image="").limits,
    ProcessTask: ProcessTask(command=[]).limits,
}


def reserves(task: ProgramTask) -> Reserved:
    """The reservation of one running program: CPUs and memory where they are not its kind's defaults, and its GPUs.

    The defaults are limits only: a small machine runs many programs that use less. A default counts as one where it is
    written, too: a task with one written limit has values for all.
    """
    limits, usual = task.limits, _USUAL[type(task)]
    return Reserved(
        cpus=limits.cpus if limits.cpus != usual.cpus else 0.0,
        memory=limits.memory if limits.memory != usual.memory else 0,
        gpus=task.gpus if isinstance(task, DockerTask) else 0,
    )


class StepInput(msgspec.Struct):
    """One event for a program; each blob's `path` is a verified, read-only file on this host."""

    event: Event
    blobs: list[BlobRef] = []


class StepOutput(msgspec.Struct):
    """One event that a step answers with; `blobs` have name, cid, type and size filled, `data` has no `blobs`.

    With `passes` false it is only shown: no step takes it.
    """

    type: str
    data: dict[str, Any]
    blobs: list[BlobRef] = []
    passes: bool = True


class LineEvent(msgspec.Struct):
    """One event of a source filter, about one line of the batch that was fed.

    `line` is the line's number from 1, 0 where the filter gives only `at`: where the line starts in the batch, in bytes; -1 where
    the filter leaves it to be counted. `access_point` is the name of the access point that the line is about; empty where the
    line does not say.
    """

    line: int = 0
    type: str = ""
    data: dict[str, Any] = {}
    at: int = -1
    access_point: str = ""


class BlobWriter(Protocol):
    """Where executors put the files that programs wrote."""

    async def put_fd(self, fd: int, *, limit: int) -> tuple[str, int]:
        """Copy an open regular file while hashing it; returns (cid, size); raises BlobError above `limit` bytes."""
        ...

    async def put(self, data: bytes) -> tuple[str, int]:
        """Store bytes; returns (cid, size)."""
        ...


Stream = Literal["stdout", "stderr", "agent"]
"""Where a log line comes from: the program's output, its error output, or the agent's own words about the program."""


class StepLog(Protocol):
    """The log of one step on this node. An execution is one life of the step's program: from its start to its end."""

    def begin(self) -> StepLog:
        """The log of a new execution, for a program that is being started; several may be under way at a time."""
        ...

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """One line, without its newline; `event` is the id of the event that was with the program. Never raises.

        In the log of a step it belongs to the execution that began last.
        """
        ...


LogOf = Callable[[str, str, str], StepLog]
"""The log of (pipeline, version, step) on this node."""


class Runner(Protocol):
    """A step's program on this node, ready for events."""

    in_flight: int
    """How many events may be under way at once."""

    @property
    def start_failure(self) -> StepFailed | None:
        """The reason why its program ended before it was ready; None where it did not, and once a fresh program starts."""
        ...

    async def start(self) -> None:
        """Start it, or with `once` check that it can be started; raises Refused (policy, no engine) or StepFailed."""
        ...

    async def run(self, item: StepInput) -> list[StepOutput]:
        """Answer one event. Raises StepFailed: `final` when the program itself said so, else worth another run."""
        ...

    async def close(self) -> None:
        """Stop it and leave nothing behind."""
        ...


class FilterRunner(Protocol):
    """A source filter: raw lines in, line events out."""

    async def feed(self, lines: bytes, log: StepLog) -> Sequence[LineEvent]:
        """Run one batch of whole lines (each ending in a newline). Many events may be decoded as they are looked at.

        Raises StepFailed.
        """
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...
