"""The delivery engine: rows, journal, router, sender, receiver, reports, deciders, trace."""

from agent.delivery.context import Context
from agent.delivery.deciders import Deciders, KeyedLocks
from agent.delivery.engine import Pipelines
from agent.delivery.hosts import Emit, Made, Work, step_input
from agent.delivery.journal import Journal
from agent.delivery.rows import ENDS, Row, State
from agent.delivery.validation import MAX_FIELD
from agent.delivery.wire import Record, TraceRow

__all__ = [
    "ENDS", "MAX_FIELD", "Context", "Deciders", "Emit", "Journal", "KeyedLocks", "Made", "Pipelines", "Record", "Row", "State",
    "TraceRow", "Work", "step_input",
]  # fmt: skip
