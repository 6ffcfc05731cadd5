"""The retry rules: whether and where a row is tried again after a failed run, one function for each kind of failure.

A new rule is a line here. Nothing here changes a row: `lifecycle.py` applies the answers of these functions.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from agent.backoff import Backoff
from agent.delivery.rows import Row
from agent.errors import StepFailed
from agent.model.pipeline import Step

BACKOFF = Backoff((0.2, 1.0, 5.0, 15.0))
"""Pauses before a program that failed, could not be started or was not reached is tried again here."""
SAME_NODE_AGAIN = 1.0
"""Seconds before a node that failed an event gets it a second time."""
LOST_AFTER = 60.0
"""Seconds after its deadline that a row waits for a node that accepted it and does not report its end."""

Where = Literal["end", "producer", "here", "elsewhere"]
"""After a failed run: end the row; end it here, the producer tries again; run it here again; choose a node again."""


class After(NamedTuple):
    """A reported failure: no other run helps (`final`), no attempt was used (`free`), attempts counted before that run.

    `attempts` is -1 where the node that ran it does not say.
    """

    final: bool
    free: bool
    attempts: int = -1


def after_failure(row: Row, step: Step, error: StepFailed) -> Where:
    """Where a row that failed in a run here is tried next; this run is not yet counted in `row.attempts`."""
    if error.final or row.attempts + 1 >= step.attempts:
        return "end"
    if row.claims and not row.slot and step.pick == "one":
        return "producer"
    return "here" if row.claims or row.slot or step.pick == "here" else "elsewhere"


def after_report(row: Row, step: Step | None, end: str, after: After, now: float) -> float | None:
    """Seconds until a row that ended on another node is routed again; None if that end is final."""
    if end != "failed" or after.final or step is None or step.pick != "one" or now >= row.deadline:
        return None
    if row.attempts + (not after.free) >= step.attempts:
        return None
    return SAME_NODE_AGAIN if row.target in row.avoid else 0.0


def stays_placed(row: Row, *, answered: bool, avoid: bool, now: float) -> bool:
    """Whether a holder that was asked again and did not accept still counts as the holder.

    It does if no answer came. A temporary refusal does not tell whether that node has the row: after the deadline
    this row would end, while its holder may still deliver it.
    """
    if not (row.asked_again and answered):
        return row.asked_again
    return not avoid and row.deadline <= now < row.deadline + LOST_AFTER


def runs_again(row: Row, attempts: int) -> bool:
    """Whether the producer asks for another run of a row that failed here: with more attempts, or where none was used."""
    return row.end == "failed" and (row.free or attempts > row.attempts)
