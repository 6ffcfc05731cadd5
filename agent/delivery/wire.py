"""The messages of delivery, as msgpack; `docs/protocol.md` describes them in prose.

Verbs: `pipeline.deliver` (DeliverRequest → list[Verdict]), `pipeline.report` (list[Report] → nothing),
`pipeline.decide` (Question → the first event's id), `pipeline.remember` (Record → Record), `pipeline.trace` (an id → list[TraceRow]).
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.model.alert import Hop

MAX_ITEMS = 64
"""Most deliveries in one request."""
MAX_REQUEST = 4 * 1024 * 1024
"""Largest request in bytes, inline blobs included."""
INLINE = 192 * 1024
"""Blobs up to this size travel with the delivery: a rescaled photo needs no second round trip."""


class Delivery(msgspec.Struct, array_like=True):
    """One event for one step. `age_ms` is counted from the root event, `remaining_ms` to the deadline."""

    pipeline: str
    version: str
    step: str
    slot: str
    event: bytes
    age_ms: float
    remaining_ms: float
    trace: list[Hop]
    attempts: int


class DeliverRequest(msgspec.Struct, array_like=True):
    """Deliveries and the small blobs that they name, by CID."""

    items: list[Delivery]
    blobs: dict[str, bytes]


class Verdict(msgspec.Struct, array_like=True):
    """`accepted`, or the reason of the refusal: `full`, `rate`, `version`, `unknown`, `not-allowed`, `policy`, `blob`, `bad`."""

    status: str
    detail: str = ""


class Report(msgspec.Struct, array_like=True):
    """The end of a delivered event: phase 1 settled (`end` holds), 2 closed (its whole branch has ended).

    `attempts` are the attempts counted before the reported run; nodes of version 0.1 do not send them.
    """

    event: str
    pipeline: str
    step: str
    slot: str
    phase: int
    end: str
    reason: str
    matched: bool
    final: bool
    free: bool = False
    attempts: int = -1


class Question(msgspec.Struct, array_like=True):
    """Is `event` the first of this key within `seconds`?"""

    scope: str
    key: str
    event: str
    seconds: float


class Record(msgspec.Struct, array_like=True):
    """A decider's record: the first event, the record's age and its remaining time, in seconds."""

    scope: str
    key: str
    first: str
    age: float
    left: float
    present: bool = False
    value: dict[str, Any] = {}


class TraceRow(msgspec.Struct, omit_defaults=True):
    """One row of a node's journal, for `trace`."""

    node: str
    pipeline: str
    step: str
    event: str
    parent: str
    type: str
    time: str
    state: str
    end: str = ""
    reason: str = ""
    target: str = ""
    attempts: int = 0
    alert: str = ""
    trace: list[Hop] = []
