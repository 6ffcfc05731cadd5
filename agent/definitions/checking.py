"""Pipelines from elsewhere: a signed document or a stored definition, perhaps of another version of the agent.

An operator signed it and loading checked it there; what this version cannot run must not come into force here all the same.
"""

from __future__ import annotations

import jmespath.exceptions
import msgspec

from agent.definitions.expressions import compile_key, compile_when
from agent.definitions.loading import MAX_STEPS, NAME, without_beginning
from agent.errors import ConfigError
from agent.model.decoding import DAMAGED
from agent.model.event import check_depth
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import selector


def decode_pipeline(body: bytes) -> Pipeline:
    """The pipeline in `body`; raises msgspec.ValidationError for any that this version could not run."""
    try:
        made = msgspec.json.decode(body, type=Pipeline)
        for step in made.steps:
            _check_step(step)
        _check_graph(made.steps)
    except (ConfigError, ValueError, jmespath.exceptions.JMESPathError, *DAMAGED) as e:
        raise msgspec.ValidationError(f"not a pipeline: {' '.join(str(e).split())}") from None
    return made


def _check_step(step: Step) -> None:
    if not NAME.match(step.name):
        raise ValueError(f"{step.name!r} is not a name")
    check_depth(step.task)
    step.task_of()
    selector(step.where)
    selector(step.prefer)
    if step.when:
        compile_when(step.when)
    for window in (step.dedupe, step.cooldown):
        for key in window.key if window is not None else ():
            compile_key(key)


def _check_graph(steps: list[Step]) -> None:
    if len(steps) > MAX_STEPS or len({s.name for s in steps}) < len(steps):
        raise ValueError(f"more than {MAX_STEPS} steps, or two of one name")
    if lost := without_beginning(steps):
        raise ValueError(f"steps that follow each other in a circle, or none that is there: {', '.join(lost)}")
