"""The row that `lifecycle.py` writes. Other modules see `rows.Row`, its read-only view; a test holds them to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.delivery.rows import TRANSITIONS, End, Key, Row, State
from agent.delivery.shelf import Block, Shelf
from agent.model.alert import Hop
from agent.model.event import Event

_DECODER = msgspec.msgpack.Decoder(tuple[Event, tuple[Hop, ...]])
_NO_CLAIMS: Mapping[str, int] = {}
"""Shared by all rows that no other node delivered."""


class IllegalTransition(RuntimeError):
    """An internal error: a row would make a change that the table does not have."""


@dataclass(slots=True, eq=False)
class WritableRow:
    """The writable row behind `rows.Row`, which documents each field."""

    n: int
    _event: Event | None
    _id: str
    pipeline: str
    version: str
    step: str
    slot: str = ""
    parent: int = 0
    _trace: tuple[Hop, ...] | None = ()
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
    claims: Mapping[str, int] = field(default_factory=lambda: _NO_CLAIMS)
    turn: int = 0
    matched: bool = False
    closed: bool = False
    _block: Block | None = None
    """The block that has the event and the trace, and their number there."""
    _place: int = 0

    @property
    def event(self) -> Event:
        return self._packed()[0] if self._event is None else self._event

    @property
    def trace(self) -> tuple[Hop, ...]:
        return self._packed()[1] if self._trace is None else self._trace

    @trace.setter
    def trace(self, trace: tuple[Hop, ...]) -> None:
        self._trace = trace

    def _packed(self) -> tuple[Event, tuple[Hop, ...]]:
        assert self._block is not None
        return _DECODER.decode(self._block.get(self._place))

    def pack(self, shelf: Shelf) -> None:
        if self._event is not None and self._trace is not None:
            block = shelf.block()
            self._place = block.add(msgspec.msgpack.encode((self._event, self._trace)))
            self._block, self._event, self._trace = block, None, None

    def unpack(self) -> None:
        if self._block is not None:
            self._event, self._trace = self.event, self.trace
            self._block = None

    def claim(self, node: str, knows: int) -> None:
        """This node has heard so much of the row."""
        self.claims = {**self.claims, node: knows}

    @property
    def key(self) -> Key:
        return (self._id, self.pipeline, self.step, self.slot)

    @property
    def delivered(self) -> bool:
        return self.parent == 0 and bool(self.claims)

    @property
    def open(self) -> bool:
        return self.state is not State.ENDED


def new_row(n: int, event: Event, pipeline: str, version: str, step: str, **fields: Any) -> Row:
    """A row with these fields, in no table yet: new, or as the journal holds it."""
    return WritableRow(n, event, event.id, pipeline, version, step, _trace=fields.pop("trace", ()), **fields)


def writable(row: Row) -> WritableRow:
    """The same row, for `lifecycle.py` alone."""
    assert isinstance(row, WritableRow)
    return row


def move(row: WritableRow, state: State) -> None:
    """Change its state; raises IllegalTransition for a change that is not in the table."""
    if state not in TRANSITIONS[row.state]:
        raise IllegalTransition(f"{row.pipeline}/{row.step} {row.event.id}: {row.state.name} → {state.name}")
    row.state = state
