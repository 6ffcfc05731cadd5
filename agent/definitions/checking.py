"""Checks of a decoded pipeline: a signed document or a stored definition, perhaps of another version of the agent.

The loader checked it where it was signed, but a pipeline that this version cannot run must not come into force here.
"""

from __future__ import annotations

import jmespath.exceptions
import msgspec

from agent.definitions.keys import keys_of
from agent.errors import ConfigError
from agent.model.decoding import DAMAGED
from agent.model.event import check_depth
from agent.model.pipeline import MAX_STEPS, NAME, Pipeline, Step
from agent.model.step_kind import Kinds


def decode_pipeline(body: bytes, kinds: Kinds) -> Pipeline:
    """The pipeline in `body`; raises msgspec.ValidationError for one that this version cannot run."""
    try:
        made = msgspec.json.decode(body, type=Pipeline)
        for step in made.steps:
            _check_step(step, kinds)
        _check_graph(made.steps)
    except (ConfigError, ValueError, jmespath.exceptions.JMESPathError, *DAMAGED) as e:
        raise msgspec.ValidationError(f"not a pipeline: {' '.join(str(e).split())}") from None
    return made


def unreachable(steps: list[Step]) -> list[str]:
    """The steps that no event can reach, since they follow each other in a circle or follow a step that does not exist."""
    seen: set[str] = set()
    while more := {s.name for s in steps if s.name not in seen and seen.issuperset(s.after)}:
        seen |= more
    return [s.name for s in steps if s.name not in seen]


def _check_step(step: Step, kinds: Kinds) -> None:
    if not NAME.fullmatch(step.name):
        raise ValueError(f"{step.name!r} is not a name")
    if step.kind not in kinds:
        raise ValueError(f"{step.kind!r} is not a kind of step")
    check_depth(step.task)
    kinds.task_of(step)
    for part in (step, step.dedupe, step.cooldown):
        for key in keys_of(type(part)).values() if part is not None else ():
            key.check(getattr(part, key.field))


def _check_graph(steps: list[Step]) -> None:
    if len(steps) > MAX_STEPS or len({s.name for s in steps}) < len(steps):
        raise ValueError(f"more than {MAX_STEPS} steps, or two with one name")
    if lost := unreachable(steps):
        raise ValueError(f"steps that follow a circle or a step that does not exist: {', '.join(lost)}")
