"""The base of all answers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(description="seconds")]
Millis = Annotated[float, Meta(description="milliseconds")]
Size = Annotated[int, Meta(description="bytes")]
Time = Annotated[str, Meta(description="RFC 3339, UTC")]
NodeName = Annotated[str, Meta(description="a node's name")]
Role = Annotated[str, Meta(description="operator or member")]
Version = Annotated[str, Meta(description="hash of the resolved pipeline")]
PausedFor = Annotated[float | None, Meta(description="seconds until it goes on by itself; absent while it runs")]


class Answer(msgspec.Struct, omit_defaults=True):
    """Base of the answers: a field with a default is left out of the JSON where it has that default."""


class Failure(Answer):
    """Why a request failed. Some errors have more fields, like the line in a file."""

    code: Annotated[str, Meta(description="stable, see docs/errors.md")]
    message: str
    hint: Annotated[str, Meta(description="the next action for the user")]
    exit_code: Annotated[int, Meta(description="exit code of the command line")]


class Failed(Answer):
    """The body of every failed answer, and the last row of a stream that ended with an error."""

    error: Failure


class Id(Answer):
    """The id of what was changed."""

    id: str


class Name(Answer):
    """The name of what was changed."""

    name: str
