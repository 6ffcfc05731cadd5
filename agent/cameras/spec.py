"""The settings of a camera: its source, and how its pictures are turned, masked and cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from agent.errors import ConfigError

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Box = tuple[Share, Share, Share, Share]
Corner = tuple[Share, Share]
Polygon = Annotated[list[Corner], msgspec.Meta(min_length=3, max_length=32)]
Zones = Annotated[dict[str, Polygon], msgspec.Meta(max_length=16)]
Kind = Literal["v4l2", "rtsp", "http", "file"]

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_VIDEO_DEVICE = re.compile(r"/dev/(video\d+|v4l/[\w./:+-]+)\Z")
_SECRET = re.compile(r"(?i)\b((?:[a-z]*pass?[a-z]*|pas|pwd|psw|token|auth|key|user[a-z]*|usr|login[a-z]*)=)[^&/?;]+")
_HINT = "a source is /dev/video0, rtsp://…, http://… (a snapshot or MJPEG) or file:PATH"


class View(msgspec.Struct, frozen=True, omit_defaults=True):
    """The changes to a picture: turned clockwise by `rotate` degrees, then zones blackened, then cut.

    Boxes are [x, y, width, height] in 0..1 of the turned picture; `hidden` are polygons of [x, y] that are blackened too.
    """

    rotate: Literal[0, 90, 180, 270] = 0
    masks: list[Box] = []
    crop: Box | None = None
    hidden: list[Polygon] = []

    @property
    def plain(self) -> bool:
        """Whether pictures stay as they are."""
        return self.rotate == 0 and not self.masks and not self.hidden and self.crop is None


class Camera(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One camera of the book. `source` may hold credentials: show `shown` instead.

    `warm` keeps it open; `insecure` accepts any TLS certificate (many cameras sign their own). `zones` are polygons of the photo
    as it is sent on, by name, for conditions on labels; `min_area` and `max_area` are the shares of that photo between which a
    label's box fits.
    """

    source: str
    rotate: Literal[0, 90, 180, 270] = 0
    crop: Box | None = None
    masks: list[Box] = []
    warm: bool = False
    insecure: bool = False
    hidden: list[Polygon] = []
    zones: Zones = {}
    min_area: Share = 0
    max_area: Share = 1

    def __repr__(self) -> str:
        """The camera without credentials: it may appear in a log."""
        return f"Camera({self.shown})"

    @property
    def kind(self) -> Kind:
        """The kind of its source."""
        return kind_of(self.source)

    @property
    def shown(self) -> str:
        """The source without credentials."""
        return masked(self.source)

    @property
    def about_labels(self) -> dict[str, Any]:
        """The members of a photo's data that conditions on labels read: `zones`, `min_area` and `max_area`, where they are set."""
        areas = ("min_area", self.min_area, 0), ("max_area", self.max_area, 1)
        return ({"zones": dict(self.zones)} if self.zones else {}) | {k: v for k, v, default in areas if v != default}

    @property
    def view(self) -> View:
        """The changes to its pictures."""
        return View(self.rotate, self.masks, self.crop, self.hidden)


def normal_source(source: str) -> str:
    """The source in its normal form: devices as /dev/…, files as file:/absolute. Raises ConfigError."""
    source = source.strip()
    if source.startswith("v4l2:"):
        source = source.removeprefix("v4l2:")
    if source.startswith("file:"):
        path = source.removeprefix("file:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path:
            raise ConfigError("file: needs a path", hint=_HINT)
        source = f"file:{Path(path).expanduser().absolute()}"
    kind_of(source)
    return source


def kind_of(source: str) -> Kind:
    """The kind of a normal source; raises ConfigError, without credentials in it."""
    if _VIDEO_DEVICE.match(source) and ".." not in source:
        return "v4l2"
    if source.startswith("file:/"):
        return "file"
    try:
        url = urlsplit(source)
        host, _ = url.hostname, url.port
    except ValueError as e:
        raise ConfigError(f"{masked(source)!r} is not an address", hint=_HINT) from e
    if any(c.isspace() or not c.isprintable() for c in source):
        raise ConfigError("a camera's address has no spaces", hint="write %20 for a space")
    if host and url.scheme in ("rtsp", "rtsps"):
        return "rtsp"
    if host and url.scheme in ("http", "https"):
        return "http"
    raise ConfigError(f"{masked(source)!r} is not a camera's source", hint=_HINT)


def masked(source: str) -> str:
    """The source as it may be shown: the password and the values of query parameters become ***.

    The user is shown where it is certain which part of the address it is.
    """
    scheme, found, rest = source.partition("://")
    if not found:
        return source
    authority, slash, tail = rest.partition("/")
    if "@" in rest:  # a password may hold a slash or an @: all up to the last @ is hidden
        before, _, after = rest.rpartition("@")
        _, slash, tail = after.partition("/")
        user = re.match(r"([^:/?#@]*):[^/?#@]*\Z", before)
        login = f"{user[1]}:***" if user else "***"
        authority = f"{login}@{after.partition('/')[0]}" if before else authority
    path, question, query = tail.partition("?")
    path = _SECRET.sub(r"\1***", path)
    hidden = "&".join(f"{part.partition('=')[0]}=***" if "=" in part else "***" for part in query.split("&") if part)
    return f"{scheme}://{authority}{slash}{path}{question}{hidden}"


def split_credentials(url: str) -> tuple[str, SplitResult]:
    """The URL without user and password, and its parts."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc += f":{parts.port}"
    return parts._replace(netloc=netloc, fragment="").geturl(), parts


def check_name(name: str) -> None:
    """Raise ConfigError unless it may name a camera."""
    if not NAME.match(name):
        raise ConfigError(f"{name!r} is not a valid camera name", hint="letters, digits, '-', '_' and '.', at most 63")


def check_camera(camera: Camera) -> None:
    """Raise ConfigError where a box has no area or leaves the picture, a zone has no valid name, or no area fits."""
    if camera.min_area >= camera.max_area:
        raise ConfigError(
            f"no label fits between an area of {camera.min_area:g} and one of {camera.max_area:g}",
            hint="shares of the photo: --min-area 0.01 --max-area 0.5",
        )
    for zone in camera.zones:
        if not NAME.match(zone):
            raise ConfigError(f"{zone!r} is not a name of a zone", hint="letters, digits, '-', '_' and '.', at most 63")
    for box in [*camera.masks, *([camera.crop] if camera.crop else [])]:
        x, y, width, height = box
        if width <= 0 or height <= 0 or x + width > 1 + 1e-9 or y + height > 1 + 1e-9:
            raise ConfigError(
                f"the box {list(box)} is empty or leaves the picture",
                hint="a box is [x, y, width, height], each in 0..1, x + width and y + height at most 1",
            )
