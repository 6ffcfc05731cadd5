"""How a kind of step runs on a node: kinds that take events, and sources, which make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from agent.delivery import Work
from agent.model.pipeline import Pick, Pipeline, Step
from agent.model.step_kind import StepKind
from agent.sources import SenderCount
from agent.steps.parts import Parts
from agent.steps.source_counts import SourceCounts


class EventKind(StepKind, ABC):
    """A kind whose steps take events."""

    @abstractmethod
    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""


class SourceRunner(Protocol):
    """One source of one step on this node."""

    @property
    def name(self) -> str:
        """Its name in `status`."""
        ...

    @property
    def problem(self) -> str:
        """The reason why it gives no events now; empty while it works."""
        ...

    @property
    def hint(self) -> str:
        """The remedy of the problem; empty where none is known."""
        ...

    def counts(self) -> SourceCounts:
        """Its lines, events and losses since it started."""
        ...

    def senders(self) -> list[SenderCount]:
        """The senders that it remembers, the last heard first; empty for a source of this node alone."""
        ...

    async def run(self) -> None:
        """Make events until cancelled."""
        ...


class SourceKind(StepKind, ABC):
    """A kind whose steps make events, on every node that matches."""

    is_source = True
    pick: Pick = "all"

    @abstractmethod
    def sources(self, parts: Parts, step: Step) -> list[str]:
        """The names of the step's sources on this node; a source that stays runs on while others come and go.

        Raises ConfigError.
        """

    @abstractmethod
    def runner(self, parts: Parts, pipeline: Pipeline, step: Step, source: str) -> SourceRunner:
        """The runner of one of them, not yet running; raises ConfigError where this node cannot have it."""
