"""Pipelines: applied, compared, tested."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.api.results.base import Answer, Millis, NodeName, PausedFor, Time, Version
from agent.api.results.status import PipelineState

Counter = Annotated[int, Meta(description="counts the changes of its document; the highest is in force")]
Signer = Annotated[str, Meta(description="name of the operator that signed it")]


class Overrode(Answer):
    """The version that was in force before."""

    version: Version
    counter: Counter
    signer: Signer


class AppliedStep(Answer):
    """A step and the nodes that match it now."""

    step: str
    kind: str
    where: str
    nodes: list[str]


class AppliedPipeline(Answer):
    """A pipeline that was applied, or with `dry_run` would be."""

    name: str
    version: Version
    counter: Counter
    changed: bool
    warnings: list[str]
    steps: list[AppliedStep]
    overrode: Overrode | None = None
    learning_s: Annotated[
        float, Meta(description="seconds for which its presence steps learn; unknown devices do not arrive")
    ] = 0.0


class PipelineDiff(Answer):
    """The differences between a file and the applied version."""

    name: str
    before: Annotated[str, Meta(description="the applied version; empty where there is none")] = msgspec.field(
        name="from"
    )
    to: Version
    diff: Annotated[str, Meta(description="unified diff of the resolved pipelines; empty when they are equal")]


class ListedPipeline(Answer):
    """An applied pipeline in short, with this node's counts."""

    counter: Counter
    signer: Signer
    applied: Annotated[str, Meta(description="when this node received it, RFC 3339, UTC")]
    name: str
    version: Version
    steps: Annotated[int, Meta(description="how many steps it has")]
    open: int
    alerts: Annotated[int, Meta(description="alerts that were delivered")]
    paused_s: PausedFor = None


class DescribedPipeline(PipelineState, kw_only=True):
    """An applied pipeline with this node's counts and its text."""

    counter: Counter
    signer: Signer
    applied: Time
    text: Annotated[str, Meta(description="the YAML as applied")]


class PipelineVersion(Answer):
    """A version that this node has seen; only the current one has `counter` and `signer`."""

    version: Version
    applied: Time
    current: bool
    counter: int
    signer: str


class Paused(Answer):
    """A pipeline that takes no new events."""

    name: str
    paused_s: Annotated[float, Meta(description="for how many seconds; 0: until it is resumed")]


class Triggered(Answer):
    """An event that was put into a pipeline."""

    id: str
    pipeline: str
    step: str


class RemovedPipeline(Answer):
    """A pipeline that is out of force."""

    name: str
    version: Version
    counter: Counter


class Tried(Answer):
    """One event of a test of a step."""

    id: str
    end: Annotated[str, Meta(description="delivered, failed, or skipped by `when`")]
    events: Annotated[list[dict[str, Any]], Meta(description="the answer of the program")]
    ms: Millis
    log: Annotated[list[str], Meta(description="the program's stderr")]
    reason: Annotated[str, Meta(description="the reason of the failure, or the rule that skipped it")] = ""


class ImageOn(Answer):
    """A live node that may run a step with the image, or is an operator."""

    node: NodeName
    state: Annotated[Literal["here", "coming", "missing"], Meta(description="coming is known of this node alone")]
    text: Annotated[str, Meta(description="how far it is, or why it is missing")] = ""


class UsedImage(Answer):
    """An image that applied pipelines name."""

    name: Annotated[str, Meta(description="as the pipeline was written; empty where that has the id")]
    id: str
    steps: Annotated[list[str], Meta(description="PIPELINE/STEP that run it")]
    travels: Annotated[bool, Meta(description="whether nodes that lack it take it from others")]
    nodes: list[ImageOn]
