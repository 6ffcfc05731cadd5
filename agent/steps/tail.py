"""The tail step: it follows a log through a filter, and each event of the filter starts a story."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.model.keys import key
from agent.model.pipeline import Pipeline, Step
from agent.model.step_kind import WrongSetting
from agent.model.task import Task, WasmTask
from agent.sources import open_source
from agent.steps.kind import SourceKind
from agent.steps.parts import LogSpec, Parts
from agent.steps.tail_runner import TailRunner


class TailTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """Follow a log through a source filter. `source` is an argument of `agent.sources.open_source`."""

    source: LogSpec
    wasm: WasmTask


class Tail(SourceKind):
    """Follows logs."""

    name = "tail"
    task = TailTask
    about = key("follow a log (with `wasm` as its filter)", "auto", "a path, auto, journald, logread or {syslog: …}")
    value = "source"
    beside = "wasm"

    def check(self, task: TailTask) -> None:
        """See StepKind. `auto` is known only on the node that runs it, every other source is checked."""
        if task.wasm.once:
            raise WrongSetting("a filter is started for each batch of lines", "wasm", "once", hint="remove `once`")
        try:
            if task.source != "auto":
                open_source(task.source, Path("/nonexistent"))
        except ConfigError as e:
            raise WrongSetting(e.message, "tail", hint=e.hint) from None

    def sources(self, parts: Parts, step: Step) -> list[str]:
        """See SourceKind: each is a source as JSON."""
        source = step.task_as(TailTask).source
        return [_json(spec) for spec in (parts.logs.auto if source == "auto" else [source])]

    def runner(self, parts: Parts, pipeline: Pipeline, step: Step, source: str) -> TailRunner:
        """See SourceKind."""
        spec: LogSpec = msgspec.json.decode(source)
        return TailRunner(
            parts.context,
            pipeline,
            step,
            open_source(spec, parts.logs.state, parts.logs.reception),
            f"{pipeline.name}/{step.name}/{source}",
            partial(parts.programs.filter, step.task_as(TailTask).wasm),
            log=parts.log_of(pipeline.name, pipeline.version, step.name),
        )


def _json(spec: LogSpec) -> str:
    return msgspec.json.encode(spec).decode()


KINDS = (Tail(),)
