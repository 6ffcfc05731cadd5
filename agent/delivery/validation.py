"""Limits on deliveries, questions and records of other members; anything else is refused before it is kept.

An operator admits each member, but a member may be stolen: nothing that it sends may raise in a task of this node, break the
journal (SQLite stores NaN as NULL and no integer above 64 bits) or grow without bound.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from agent.delivery.wire import Delivery, Question, Record
from agent.errors import Refused
from agent.model.alert import Hop
from agent.model.decoding import DAMAGED
from agent.model.event import MAX_BLOBS, MAX_EVENT, MAX_EVENT_BLOB, Event, check_depth, decode_event
from agent.model.keys import LONGEST

MAX_ID = 128
MAX_FIELD = 1024
MAX_ATTEMPTS = 100
MAX_AGE_MS = 10 * 366 * 86400e3
MAX_WINDOW = LONGEST
"""Longest time in seconds that a record may hold."""
MAX_KEY = 4096
MAX_SCOPE = 512


def decoded(body: bytes, kind: Any) -> Any:
    """The msgpack in `body`; raises Refused, also if it is nested too deeply."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except DAMAGED as e:
        name = getattr(kind, "__name__", str(kind))
        raise Refused(f"not a {name}: {e}", code="bad", hint="does the other node run another version?") from None


def event_of(item: Delivery) -> Event:
    """The delivery's event; raises ValueError for an event that this node does not keep."""
    if len(item.event) > MAX_EVENT:
        raise ValueError(f"larger than {MAX_EVENT} bytes")
    if not (math.isfinite(item.remaining_ms) and 0 <= item.attempts <= MAX_ATTEMPTS):
        raise ValueError("its deadline or its number of attempts is out of range")
    if not abs(item.age_ms) <= MAX_AGE_MS:
        raise ValueError("its age is out of range")
    for hop in item.trace:
        _check_hop(hop)
    try:
        event = decode_event(item.event)
        check_event(event)
    except DAMAGED as e:
        raise ValueError(str(e)) from None
    return event


def check_event(event: Event) -> None:
    """Raise ValueError or msgspec.ValidationError unless every node would accept the event."""
    if not event.id or max(map(len, (event.id, event.parent, event.root, event.step, event.pipeline))) > MAX_ID:
        raise ValueError("an id is empty or too long")
    if max(map(len, (event.source, event.type, event.time, event.subject, event.traceparent))) > MAX_FIELD:
        raise ValueError(f"a field is longer than {MAX_FIELD} characters")
    check_depth(event.data)
    blobs = event.blobs()
    if len(blobs) > MAX_BLOBS or not all(b.cid and 0 <= b.size <= MAX_EVENT_BLOB for b in blobs):
        raise ValueError("too many or too large blobs")
    if any(len(b.name) > MAX_FIELD or len(b.type) > MAX_FIELD for b in blobs):
        raise ValueError("a blob's name is too long")


def _check_hop(hop: Hop) -> None:
    if max(len(hop.step), len(hop.node), len(hop.event)) > MAX_ID:
        raise ValueError("a name in its trace is too long")
    if not (math.isfinite(hop.at_ms) and math.isfinite(hop.run_ms)):
        raise ValueError("a time in its trace is out of range")


def check_question(question: Question) -> None:
    """Raise Refused unless it can be decided here."""
    _check_key(question.scope, question.key)
    if len(question.event) > MAX_ID or not 0.0 <= question.seconds <= MAX_WINDOW:
        raise Refused("the window is out of range", code="bad")


def check_record(record: Record) -> None:
    """Raise Refused unless the record may be kept; its times are ages and seconds left."""
    _check_key(record.scope, record.key)
    if len(record.first) > MAX_ID or not (math.isfinite(record.age) and math.isfinite(record.left)):
        raise Refused("a value of the record is out of range", code="bad")
    if record.left > MAX_WINDOW:
        raise Refused(f"no record holds longer than {MAX_WINDOW:.0f} s", code="bad")
    if len(record.value) > 8 or any(not isinstance(v, str) or len(k) + len(v) > 256 for k, v in record.value.items()):
        raise Refused("the record holds too many values", code="bad")


def _check_key(scope: str, key: str) -> None:
    if len(key) > MAX_KEY or len(scope) > MAX_SCOPE:
        raise Refused("the key is too long", code="bad", hint="use a shorter key expression")
