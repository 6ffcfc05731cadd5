"""The delivery engine: rows, journal, router, sender, receiver, reports, deciders, trace."""

from agent.delivery.context import Context
from agent.delivery.deciders import Deciders, KeyedLocks
from agent.delivery.decisions import Decision
from agent.delivery.engine import DeliveryEngine
from agent.delivery.hosts import Emit, Made, StepKey, StepMaker, Work, step_input
from agent.delivery.journal import Journal
from agent.delivery.rows import ENDS, Row
from agent.delivery.validation import MAX_FIELD
from agent.delivery.wire import TraceRow

__all__ = [
    "ENDS", "MAX_FIELD", "Context", "Deciders", "Decision", "DeliveryEngine", "Emit", "Journal", "KeyedLocks", "Made", "Row",
    "StepKey", "StepMaker", "TraceRow", "Work", "step_input",
]  # fmt: skip
