"""The outcome of one attempt to hand something to the sink, over HTTPS or MQTT."""

from __future__ import annotations

from enum import Enum
from typing import Literal, Protocol

import msgspec

MAX_WAIT = 600.0
"""Longest pause in seconds that a Retry-After may ask for."""
LEAST_EVERY = 60.0
"""Shortest time in seconds between two summaries that a sink may ask for."""
PERMANENT = frozenset({400, 409, 411, 413, 414, 415, 422, 431})
"""HTTP statuses of an alert that the sink will never take."""

Kind = Literal["alert", "status", "hello"]
"""An alert, a status summary, or the question whether the sink is there and knows the key."""


class Answer(msgspec.Struct):
    """A sink's whole answer; header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Verdict(Enum):
    """The next action of the uplink.

    STORED and REFUSED end an alert. RETRY: this alert failed at the sink, others may pass. DOWN: the sink cannot be
    reached, nothing can pass. DENIED: the key or the pin is wrong, a person must act.
    """

    STORED = "stored"
    REFUSED = "refused"
    RETRY = "retry"
    DOWN = "down"
    DENIED = "denied"


class Outcome(msgspec.Struct, frozen=True):
    """A verdict with its reason and the error code of its cause; `wait` is the pause in seconds that the sink asked for,
    `every` the seconds between summaries that it asks for (0: it asks for none).
    """

    verdict: Verdict
    reason: str = ""
    wait: float = 0.0
    code: str = ""
    every: float = 0.0


class SinkClient(Protocol):
    """One way to the sink, for `at_once` calls at a time; each ends within its own timeout and raises nothing of the
    network.
    """

    at_once: int

    async def send(self, kind: Kind, body: bytes, event_id: str = "") -> Outcome:
        """Hand over `body` (msgpack); an alert is STORED only when the sink says that it has `event_id` on disk."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


def judge(answer: Answer, event_id: str) -> Outcome:
    """The verdict on the sink's answer; an answer that is neither a clear yes nor a clear no is tried again."""
    status, wait, said = answer.status, _retry_after(answer), _said(answer)
    if status == 200:
        return _stored(said, event_id)
    text = str((said or {}).get("message", ""))[:300]
    reason = f"HTTP {status}" + (f": {text}" if text else "")
    if status in (401, 403):
        return Outcome(Verdict.DENIED, reason, wait)
    if status in PERMANENT:
        return Outcome(Verdict.REFUSED, reason)
    if status == 429 or (status == 503 and wait):
        return Outcome(Verdict.DOWN, reason, wait or 1.0)
    return Outcome(Verdict.RETRY, reason, wait)


def _stored(said: dict[str, object] | None, event_id: str) -> Outcome:
    if said is None:
        return Outcome(Verdict.RETRY, "the answer 200 is not JSON from a sink")
    if event_id and (said.get("id") != event_id or not isinstance(said.get("stored"), bool)):
        return Outcome(Verdict.RETRY, "the answer 200 is not about this alert")
    every = said.get("every")
    return Outcome(Verdict.STORED, every=max(every, LEAST_EVERY) if isinstance(every, int) and every > 0 else 0.0)


def _said(answer: Answer) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(answer.body, type=dict[str, object])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _retry_after(answer: Answer) -> float:
    """Seconds of a Retry-After header; dates are not read, for access points have no clock."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), MAX_WAIT) if text.isascii() and text.isdigit() else 0.0
