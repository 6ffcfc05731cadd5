"""The bodies and queries of the local API, with their limits. Times are in seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=256)]
Lines = Annotated[int, Meta(ge=0, le=10_000)]
YEAR = 366 * 86400


class Nothing(msgspec.Struct):
    """A request without a body and a query."""


# -- queries ----------------------------------------------------------------------------------------------------------


class StatusQuery(msgspec.Struct):
    """`watch` other than 0: a stream of the status, one row every so many seconds, half a second at least. `node` is empty
    for this node, the name or id of another node, or `*` for the whole mesh."""

    watch: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    node: str = ""


class EventsQuery(msgspec.Struct):
    """The newest `limit` events, with `follow` also new events; `type` and `pipeline` select where they are not empty."""

    follow: bool = False
    limit: Lines = 20
    type: Text = ""
    pipeline: Text = ""


class LogsQuery(msgspec.Struct):
    """The newest `lines` (up to 2000) of the last `since` seconds (0: of all time), with `follow` also new lines.

    `step` and `node` select where they are not empty.
    """

    step: Text = ""
    node: Text = ""
    follow: bool = False
    lines: Annotated[int, Meta(ge=0, le=2000)] = 100
    since: Annotated[float, Meta(ge=0, le=10 * YEAR)] = 0.0


class NodesQuery(msgspec.Struct):
    """`where` is a selector; empty: all nodes."""

    where: Annotated[str, Meta(max_length=1024)] = ""


class EgressQuery(msgspec.Struct):
    """The newest `limit` rows of the last `since` seconds; 0: all rows, 10,000 at most."""

    since: Annotated[float, Meta(ge=0, le=10 * YEAR)] = 86400.0
    limit: Annotated[int, Meta(ge=0, le=100_000)] = 100


# -- bodies -----------------------------------------------------------------------------------------------------------


class Approve(msgspec.Struct, forbid_unknown_fields=True):
    """`labels` null: the requested labels."""

    labels: dict[str, str] | None = None


class Rename(msgspec.Struct, forbid_unknown_fields=True):
    """A new name."""

    name: str


class Label(msgspec.Struct, forbid_unknown_fields=True):
    """Labels to set and keys to drop."""

    add: dict[str, str] = {}
    drop: list[str] = []


class CreateToken(msgspec.Struct, forbid_unknown_fields=True):
    """The rights of the token, and its lifetime."""

    ttl: Annotated[float, Meta(gt=0, le=YEAR)] = 3600.0
    uses: Annotated[int, Meta(ge=1, le=1000)] = 1
    role: Literal["member", "operator"] = "member"
    labels: dict[str, str] = {}


class Source(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A pipeline file: its text, its name for messages, and the files that it names."""

    text: str
    file: str = "pipeline.yaml"
    files: dict[str, bytes] = {}
    dry_run: bool = False


class TryStep(Source, forbid_unknown_fields=True, kw_only=True):
    """A step to try, and the events for it."""

    step: str
    events: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """For how long; 0: until it is resumed."""

    seconds: Annotated[float, Meta(ge=0, le=YEAR)] = 0.0


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """The version to return to; empty: the one before."""

    version: str = ""


class Upgrade(msgspec.Struct, forbid_unknown_fields=True):
    """`wait` is how many seconds the node may take to come back after its installation."""

    wait: Annotated[float, Meta(ge=1, le=86400)] = 600.0


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    """An event for a step; empty: for the steps after the first source."""

    step: str = ""
    type: str = "edge.trigger"
    data: dict[str, Any] = {}


class UpdateDevice(msgspec.Struct, forbid_unknown_fields=True):
    """The changes; null changes nothing."""

    name: str | None = None
    known: bool | None = None


class DecideSender(msgspec.Struct, forbid_unknown_fields=True):
    """Whether logs from this address or network are read."""

    network: Annotated[str, Meta(max_length=64)]
    allow: bool


class Merge(msgspec.Struct, forbid_unknown_fields=True):
    """The other address, as a MAC or a name; with `undo` it is a separate device again."""

    other: Text
    undo: bool = False


class StopLearning(msgspec.Struct, forbid_unknown_fields=True):
    """The pipeline; empty: all that learn."""

    pipeline: Text = ""


Share = Annotated[float, Meta(ge=0, le=1)]
Box = tuple[Share, Share, Share, Share]
Polygon = Annotated[list[tuple[Share, Share]], Meta(min_length=3, max_length=32)]


class AddCamera(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A camera for the book; boxes are [x, y, width, height] and polygons lists of [x, y], in 0..1.

    `hidden` is blackened; `zones`, `min_area` and `max_area` are for conditions on labels.
    `replace`: it may take the place of one of this name.
    """

    name: str
    source: str
    rotate: Literal[0, 90, 180, 270] = 0
    crop: Box | None = None
    masks: list[Box] = []
    warm: bool = False
    insecure: bool = False
    replace: bool = False
    hidden: list[Polygon] = []
    zones: Annotated[dict[str, Polygon], Meta(max_length=16)] = {}
    min_area: Share = 0
    max_area: Share = 1


class ConnectSink(msgspec.Struct, forbid_unknown_fields=True):
    """The sink's address with its pin, the key, and the broker's password for MQTT; neither secret is ever logged."""

    url: str
    key: str
    password: str = ""
