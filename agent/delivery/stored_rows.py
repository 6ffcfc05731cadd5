"""Rows as the journal's file holds them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from agent.clock import boottime
from agent.delivery.rows import Key, Row, State
from agent.delivery.writable_row import new_row
from agent.model.alert import Hop
from agent.model.decoding import DAMAGED
from agent.model.event import check_depth, decode_event

COLUMNS = (
    "n, event, root, pipeline, version, step, slot, parent, state, ending, reason, target, attempts, avoid, deadline, root_at, "
    "trace, matched, closed, claims, decided, at"
)
_INSERT = f"INSERT OR REPLACE INTO row ({COLUMNS}) VALUES ({','.join('?' * 22)})"  # noqa: S608
UNREADABLE = (LookupError, TypeError, ValueError, *DAMAGED)
"""Errors of `row_of` and `is_over` for values that this version cannot read."""
Values = tuple[Any, ...]
"""One row of the file, in the order of COLUMNS."""
_pack = msgspec.msgpack.encode


def values_of(row: Row) -> Values:
    """The row as it is now."""
    return (
        row.n, row.event.id, row.event.root or row.event.id, row.pipeline, row.version, row.step, row.slot, row.parent,
        int(row.state), row.end, row.reason, row.target, row.attempts, _pack(row.avoid), row.deadline, row.root_at,
        _pack(row.trace), row.matched, row.closed, _pack(row.claims), row.decided, boottime(),
    )  # fmt: skip


def row_of(v: Values, body: bytes) -> Row:
    """The row with these values and its event; raises UNREADABLE."""
    event = decode_event(body)
    if not v[18]:
        check_depth(event.data)  # before this limit, an event too deep to encode could be stored
    return new_row(
        v[0], event, v[3], v[4], v[5], slot=v[6], parent=v[7],
        state=State(v[8]), end=v[9], reason=v[10], target=v[11], attempts=v[12],
        avoid=msgspec.msgpack.decode(v[13], type=tuple[str, ...]), deadline=v[14], root_at=v[15],
        trace=msgspec.msgpack.decode(v[16], type=tuple[Hop, ...]), matched=bool(v[17]), closed=bool(v[18]),
        claims=msgspec.msgpack.decode(v[19], type=dict[str, int]), decided=bool(v[20]),
    )  # fmt: skip


def key_of(v: Values) -> Key:
    """The row's key."""
    return (v[1], v[3], v[5], v[6])


def parent_of(v: Values) -> int:
    """The number of the row whose run made the event."""
    return int(v[7])


def is_over(v: Values) -> bool:
    """Whether the row is closed and all nodes that delivered it know that; raises UNREADABLE."""
    return bool(v[18]) and all(knows == 2 for knows in msgspec.msgpack.decode(v[19], type=dict[str, int]).values())


def write_rows(db: sqlite3.Connection, values: Iterable[Values]) -> None:
    """Write new rows, and rows that have changed."""
    db.executemany(_INSERT, values)


def delete_rows(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Delete rows, and events without a row."""
    db.executemany("DELETE FROM row WHERE n = ?", [(n,) for n in numbers])
    db.execute("DELETE FROM event WHERE id NOT IN (SELECT event FROM row)")
