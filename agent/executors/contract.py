"""The step contract on the wire: events as lines and files, answers as lines (docs/step-contract.md)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from agent.errors import StepFailed
from agent.model.decoding import DAMAGED
from agent.model.event import MAX_BLOBS, MAX_EVENT, BlobRef, Event, check_depth

MAX_REPLY_EVENTS = 256
"""Most events that one answer may hold."""
MAX_ERROR = 2000
"""Characters kept of a program's own error text."""
EXCERPT = 200
"""Characters kept of a line that is no answer; a character has at most four bytes."""
BLOBS = "/blobs/"
"""The folder of the event's blobs, as the program sees it."""
OUTPUTS = "/outputs/"
"""The folder of the files that become blobs, as the program sees it."""
INPUTS = "/inputs/"
EVENT = "/event.json"
"""The folder of the event's blobs and the event, as a `once` program sees them."""

CODES = ("step.answer", "step.exit", "step.trap")
"""Codes of failures that are chosen at run time; docs/errors.md has them all."""

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_MEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,63}(;[ -~]{0,127})?\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class ReplyBlob(msgspec.Struct, omit_defaults=True):
    """A blob that an answer names: the input's (`cid`), or a file in the outputs folder (`path`, else `name`)."""

    name: str = ""
    cid: str = ""
    type: str = ""
    path: str = ""


class ReplyEvent(msgspec.Struct):
    """One event of an answer."""

    type: str
    data: dict[str, Any] = {}


class Answer(msgspec.Struct):
    """One line that a program answered with."""

    id: str
    events: list[ReplyEvent] | None = None
    error: str | None = None


class _Ready(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool


class CheckedEvent(msgspec.Struct):
    """A reply event whose `data.blobs` was taken out and checked for shape."""

    type: str
    data: dict[str, Any]
    blobs: list[ReplyBlob]


_ANSWERS = msgspec.json.Decoder(Answer)
_READY = msgspec.json.Decoder(_Ready)
_ENCODER = msgspec.json.Encoder()


def places(*, once: bool) -> dict[str, str]:
    """The places of its files, as a program in a container or in WASM sees them."""
    if once:
        return {"EDGE_INPUTS": INPUTS, "EDGE_OUTPUTS": OUTPUTS, "EDGE_EVENT": EVENT}
    return {"EDGE_BLOBS": BLOBS, "EDGE_OUTPUTS": OUTPUTS}


def broken(text: str, code: str = "step.answer", hint: str = "", **fields: Any) -> StepFailed:
    """A failure after which another run may succeed."""
    hint = hint or "see the program's log lines; docs/step-contract.md says what a step must answer"
    return StepFailed(text, code=code, hint=hint, **fields)


def file_names(blobs: list[BlobRef]) -> list[str]:
    """A safe, distinct file name for each blob, close to the blob's own name."""
    names: list[str] = []
    for blob in blobs:
        stem = _UNSAFE.sub("_", blob.name)[-100:].lstrip(".") or "blob"
        name, n = stem, 1
        while name in names:
            name, n = f"{n}-{stem}", n + 1
        names.append(name)
    return names


def encode_event(event: Event, blobs: list[BlobRef], names: list[str], folder: str = BLOBS) -> bytes:
    """The event's line, newline included; `data.blobs` lists the blobs with the paths that the program sees."""
    data = dict(event.data)
    if blobs or "blobs" in data:
        data["blobs"] = [
            {"name": b.name, "cid": b.cid, "type": b.type, "size": b.size, "path": folder + n}
            for b, n in zip(blobs, names, strict=True)
        ]
    return _ENCODER.encode({**msgspec.to_builtins(event), "specversion": event.specversion, "data": data}) + b"\n"


def is_ready(line: bytes) -> bool:
    """Whether it is the line with which a program says, before its first answer, that it is ready for events."""
    try:
        return _READY.decode(line).ready
    except DAMAGED:
        return False


def parse_answer(line: bytes, event_id: str) -> list[CheckedEvent]:
    """The events of the answer to `event_id`; raises StepFailed, `final` where the program reports an error itself."""
    try:
        answer = _ANSWERS.decode(line)
    except DAMAGED as e:
        raise broken(f"the answer is not what a step may answer: {e}", line=excerpt(line)) from e
    if answer.id != event_id:
        raise broken(
            f"the program answered event {_short(answer.id)} while the oldest open event is {event_id}",
            code="step.order",
            hint="answer events in the order in which they come, each once",
            line=excerpt(line),
        )
    if answer.error is not None:
        raise StepFailed(
            f"the program reports: {answer.error[:MAX_ERROR]}", final=True, code="step.error", hint="see its log lines"
        )
    if answer.events is None:
        raise broken("the answer has neither `events` nor `error`", line=excerpt(line))
    if len(answer.events) > MAX_REPLY_EVENTS:
        raise broken(f"the answer has {len(answer.events)} events, more than {MAX_REPLY_EVENTS}")
    return [_checked(reply, n) for n, reply in enumerate(answer.events)]


def check_type(text: str, what: str) -> None:
    """Raise StepFailed unless `text` can be an event's type."""
    if not _TYPE.match(text):
        raise broken(f"{what} has the type {_short(text)!r}: letters, digits, '.', '_' and '-', at most 128")


def check_data(data: dict[str, Any], what: str) -> None:
    """Raise StepFailed where `data` is nested deeper than any node would take."""
    try:
        check_depth(data)
    except ValueError as e:
        raise broken(f"the data of {what} is {e}") from None


def check_blob(blob: ReplyBlob, what: str, code: str = "step.answer") -> None:
    """Raise StepFailed unless an event can hold the blob's name and media type."""
    if blob.type and not _MEDIA.match(blob.type):
        raise broken(f"{what}: {_short(blob.type)!r} is not a media type", code=code)
    if len(blob.name) > 255 or not blob.name.isprintable():
        raise broken(f"{what}: {_short(blob.name)!r} is not a blob's name", code=code)


def check_size(data: dict[str, Any], what: str) -> None:
    """Raise StepFailed where `data` is larger than any node would take."""
    if len(_ENCODER.encode(data)) > MAX_EVENT:
        raise broken(f"{what} is larger than {MAX_EVENT} bytes")


def _checked(reply: ReplyEvent, n: int) -> CheckedEvent:
    what = f"event {n} of the answer"
    check_type(reply.type, what)
    check_data(reply.data, what)
    data = dict(reply.data)
    try:
        blobs = msgspec.convert(data.pop("blobs", []), list[ReplyBlob])
    except msgspec.ValidationError as e:
        raise broken(f"data.blobs of {what}: {e}") from e
    if len(blobs) > MAX_BLOBS:
        raise broken(f"{what} names {len(blobs)} blobs, more than {MAX_BLOBS}")
    for blob in blobs:
        check_blob(blob, what)
    check_size(data, what)
    try:
        msgspec.msgpack.encode(data)
    except OverflowError:
        # JSON has such numbers; msgpack on the mesh and the uplink does not.
        raise broken(f"{what} has a whole number beyond 64 bits") from None
    return CheckedEvent(reply.type, data, blobs)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "…"


def excerpt(line: bytes) -> str:
    """The line for a message, cut at 200 characters."""
    return line[: 4 * EXCERPT].decode(errors="replace")[:EXCERPT]
