"""The messages of an upgrade between an operator and a node, as msgpack arrays, and the result that the installation leaves.

The operator offers a signed manifest; the node judges it by its pinned key and names the files that it needs; it fetches them
from the operator's blobs, checks them and waits; then the operator lets it install them.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from agent.errors import ConfigError
from agent.release.manifest import MAX_MANIFEST

OFFER, STAGE, STATE, START = "upgrade.offer", "upgrade.stage", "upgrade.state", "upgrade.start"
"""The verbs, which only operators may use."""
REQUEST, LAST = "request", "last.json"
"""The file that asks for an installation, in the folder of the staged files; the file with its result, beside the pinned key."""
MAX_TEXT = 500

State = Literal["idle", "fetching", "staged", "installing", "done", "failed"]
T = TypeVar("T")


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """A release: the exact bytes of its manifest, and the signature."""

    manifest: Annotated[bytes, Meta(max_length=MAX_MANIFEST)]
    signature: Annotated[bytes, Meta(max_length=512)]


class Wanted(msgspec.Struct, array_like=True, frozen=True):
    """The node's answer: its version, `way` as in Admission, and the files that it needs, none where it runs this release."""

    version: str
    way: str
    files: dict[str, int]
    """Size in bytes by name."""


class Stage(msgspec.Struct, array_like=True, frozen=True):
    """Fetch these files of the offered release: CID by name."""

    version: Annotated[str, Meta(max_length=64)]
    files: Annotated[dict[str, str], Meta(max_length=8)]


class Start(msgspec.Struct, array_like=True, frozen=True):
    """Install the staged release of this version."""

    version: Annotated[str, Meta(max_length=64)]


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far an upgrade is. `request` is the number of the installation that was asked for; `done` and `size` are bytes."""

    state: State = "idle"
    version: str = ""
    text: str = ""
    request: str = ""
    done: int = 0
    size: int = 0


class Last(msgspec.Struct, frozen=True):
    """The result of the last installation that an agent asked for; `at` is RFC 3339 by this node's clock."""

    request: str
    version: str
    ok: bool
    text: str
    at: str


def decode(raw: bytes, kind: type[T]) -> T:
    """A message; raises ConfigError (`bad`)."""
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise ConfigError(f"the message is malformed: {e}", hint="are both of the same version?", code="bad") from None
