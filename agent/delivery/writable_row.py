"""The row that `lifecycle.py` writes. Other modules see `rows.Row`, its read-only view; a test holds them to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.delivery.rows import TRANSITIONS, End, Key, Row, State
from agent.model.alert import Hop
from agent.model.event import Event


class IllegalTransition(RuntimeError):
    """An internal error: a row would make a change that the table does not have."""


@dataclass(slots=True, eq=False)
class WritableRow:
    """The writable row behind `rows.Row`, which documents each field."""

    n: int
    event: Event
    pipeline: str
    version: str
    step: str
    slot: str = ""
    parent: int = 0
    trace: tuple[Hop, ...] = ()
    state: State = State.WAITING
    end: End | None = None
    reason: str = ""
    target: str = ""
    decided: bool = False
    attempts: int = 0
    avoid: tuple[str, ...] = ()
    free: bool = False
    final: bool = False
    deadline: float = 0.0
    root_at: float = 0.0
    started: float = 0.0
    choice: int = 0
    looked: float = 0.0
    asked_again: bool = False
    claims: dict[str, int] = field(default_factory=dict)
    turn: int = 0
    matched: bool = False
    closed: bool = False

    @property
    def key(self) -> Key:
        return (self.event.id, self.pipeline, self.step, self.slot)

    @property
    def delivered(self) -> bool:
        return self.parent == 0 and bool(self.claims)

    @property
    def open(self) -> bool:
        return self.state is not State.ENDED


def new_row(n: int, event: Event, pipeline: str, version: str, step: str, **fields: Any) -> Row:
    """A row with these fields, in no table yet: new, or as the journal holds it."""
    return WritableRow(n, event, pipeline, version, step, **fields)


def writable(row: Row) -> WritableRow:
    """The same row, for `lifecycle.py` alone."""
    assert isinstance(row, WritableRow)
    return row


def move(row: WritableRow, state: State) -> None:
    """Change its state; raises IllegalTransition for a change that is not in the table."""
    if state not in TRANSITIONS[row.state]:
        raise IllegalTransition(f"{row.pipeline}/{row.step} {row.event.id}: {row.state.name} → {state.name}")
    row.state = state
