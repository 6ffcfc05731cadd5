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
Version = Annotated[str, Meta(description="hash of what runs")]
PausedFor = Annotated[float | None, Meta(description="seconds until it goes on by itself; absent while it runs")]


class Answer(msgspec.Struct, omit_defaults=True):
    """Base of the answers: a field with a default is left out of the JSON where it has that default."""


class Failure(Answer):
    """Why a request failed. Some errors have more fields, like the line in a file."""

    code: Annotated[str, Meta(description="stable, see docs/errors.md")]
    message: str
    hint: Annotated[str, Meta(description="what to do next")]
    exit_code: Annotated[int, Meta(description="what the command line ends with")]


class Failed(Answer):
    """The body of every answer that is no success, and the last row of a stream that ended by a fault."""

    error: Failure


class Id(Answer):
    """The id of what was changed."""

    id: str


class Name(Answer):
    """The name of what was changed."""

    name: str
