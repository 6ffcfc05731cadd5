"""The book of this node's cameras, and taking photos with them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from agent import ticks
from agent.backoff import Backoff, Tries, doubling
from agent.cameras.address import check_login
from agent.cameras.book_file import load_book, save_book
from agent.cameras.session import Frame
from agent.cameras.shared_session import SharedSession
from agent.cameras.spec import Camera, check_camera, check_name, normal_source
from agent.errors import CameraError, ConfigError, NotFound
from agent.model.event import now
from agent.model.node import CameraInfo
from agent.platforms import VideoDevice, video_devices

logger = logging.getLogger(__name__)

DEADLINE = 10.0
"""Seconds for a photo, opening included."""
MAX_SHOTS = 32
MAX_CAMERAS = 64
KEEP_EVERY = 2.0
"""Seconds between two checks of the warm cameras."""
BACKOFF = Backoff(doubling(KEEP_EVERY, 60.0))
"""The pauses before a warm camera that cannot be opened is tried again."""


class Photo(msgspec.Struct, frozen=True):
    """One photo: JPEG bytes, size in pixels, and when it was taken, in monotonic seconds (`taken`) and RFC 3339 (`at`)."""

    jpeg: bytes
    width: int
    height: int
    taken: float
    at: str


# The method `list` hides the builtin inside the class.
Photos: TypeAlias = list[Photo]
Infos: TypeAlias = list[CameraInfo]
Devices: TypeAlias = list[VideoDevice]


class ShootFailed(CameraError):
    """A camera failed; `photos` are the photos that it took before, `fields` have its name and its source without password."""

    def __init__(self, name: str, camera: Camera, cause: CameraError, photos: list[Photo]) -> None:
        hint = cause.hint.replace("NAME", name)
        super().__init__(
            f"camera {name}: {cause.message}", hint=hint, code=cause.code, camera=name, source=camera.shown
        )
        self.photos = photos


class CameraBook:
    """The cameras of this node, kept in a file of mode 0600.

    `run()` keeps the warm cameras open; without it cameras are opened on demand. `close()` closes all.
    `on_health(name, error)` is called after each use: None when it worked.
    """

    def __init__(self, path: Path, *, deadline: float = DEADLINE) -> None:
        """Load the book; a missing file is an empty book. Raises ConfigError with line and hint."""
        self._path = path
        self._deadline = deadline
        self._cameras = load_book(path)
        self._sessions = {name: SharedSession(camera) for name, camera in self._cameras.items()}
        self._errors: dict[str, str] = {}
        self._worked: set[str] = set()
        self._changed = asyncio.Event()
        self.on_health: Callable[[str, CameraError | None], None] | None = None

    # ---- the book ----

    def list(self) -> dict[str, Camera]:
        """All cameras by name; show `Camera.shown`, not its source."""
        return dict(self._cameras)

    def get(self, name: str) -> Camera:
        """The camera; raises NotFound with near names."""
        if name not in self._cameras:
            near = get_close_matches(name, self._cameras, 3) or sorted(self._cameras)[:5]
            hint = f"there are {', '.join(near)}" if near else "add one: edge-agent camera add NAME SOURCE"
            raise NotFound(f"there is no camera {name!r}", hint=hint)
        return self._cameras[name]

    def infos(self) -> Infos:
        """The cameras as the node announces them; `ok` is about the last use, `worked` about the time since the start."""
        return [
            CameraInfo(name, camera.kind, name not in self._errors, name in self._worked)
            for name, camera in self._cameras.items()
        ]

    def error(self, name: str) -> str:
        """The error of the camera's last use; empty where it worked or was not used."""
        return self._errors.get(name, "")

    def is_open(self, name: str) -> bool:
        """Whether the camera is open; raises NotFound."""
        self.get(name)
        return self._sessions[name].ready

    def progress(self, name: str) -> int:
        """How many photos it has given since the book was made or it was added; raises NotFound."""
        self.get(name)
        return self._sessions[name].taken

    def probe(self) -> Devices:
        """The V4L2 devices of this machine that are not in the book."""
        known = {camera.source for camera in self._cameras.values()}
        return [device for device in video_devices() if device.source not in known]

    async def add(self, name: str, source: str, *, replace: bool = False, **options: Any) -> Camera:
        """Add a camera, or with `replace` change it; options are Camera's fields. Raises ConfigError. It is not tried."""
        check_name(name)
        check_login(source)
        if name in self._cameras and not replace:
            hint = f"another name, or edge-agent camera add {name} - --replace"
            raise ConfigError(f"there is a camera {name!r} already", hint=hint, code="camera.exists")
        try:
            camera = msgspec.convert({"source": normal_source(source), **options}, Camera)
        except msgspec.ValidationError as e:
            raise ConfigError(f"camera {name}: {e}", hint="boxes are [x, y, width, height] in 0..1") from e
        check_camera(camera)
        if len(self._cameras) >= MAX_CAMERAS and name not in self._cameras:
            raise ConfigError(f"a node has at most {MAX_CAMERAS} cameras", hint="remove one, or use another node")
        await self._store({**self._cameras, name: camera})
        await self._replace(name, SharedSession(camera))
        return camera

    async def remove(self, name: str) -> None:
        """Remove it from the book and close it. Raises NotFound."""
        self.get(name)
        await self._store({k: v for k, v in self._cameras.items() if k != name})
        await self._replace(name, None)

    async def _store(self, cameras: dict[str, Camera]) -> None:
        await asyncio.to_thread(save_book, self._path, cameras)
        self._cameras = cameras

    async def _replace(self, name: str, session: SharedSession | None) -> None:
        old = self._sessions.pop(name, None)
        self._errors.pop(name, None)
        self._worked.discard(name)
        if session is not None:
            self._sessions[name] = session
        self._changed.set()
        if old is not None:
            await old.close()

    # ---- photos ----

    async def test(self, name: str) -> Photo:
        """One photo. Raises NotFound or CameraError."""
        return (await self.shoot(name))[0]

    async def shoot(
        self,
        name: str,
        shots: int = 1,
        every: float = 0.0,
        *,
        deadline: float | None = None,
        taken: Callable[[Photo], Awaitable[None]] | None = None,
    ) -> Photos:
        """`shots` photos, `every` seconds apart; each, opening included, within `deadline` seconds of when it is due.

        `taken` is awaited with each photo at once, so that the first does not wait for the last.
        Raises NotFound, or ShootFailed (a CameraError, which holds the photos taken before) within the deadline.
        """
        self.get(name)
        if not 1 <= shots <= MAX_SHOTS or not 0 <= every <= 3600:
            raise ConfigError(f"{shots} shots every {every} s", hint=f"1 to {MAX_SHOTS} shots, at most an hour apart")
        limit = self._deadline if deadline is None else deadline
        photos: Photos = []
        try:
            async with self._sessions[name].use() as session:
                due = time.monotonic()
                for i in range(shots):
                    photos.append(_photo(await session.frame(limit)))
                    if taken is not None:
                        await taken(photos[-1])
                    due = max(due, photos[0].taken) + every
                    if i + 1 < shots:
                        await asyncio.sleep(max(0.0, due - time.monotonic()))
        except CameraError as e:
            raise self._failed(name, e, photos) from e
        self._report(name, None)
        return photos

    def _failed(self, name: str, cause: CameraError, photos: Photos) -> ShootFailed:
        """The error with the camera's name, reported. The camera may have been removed meanwhile."""
        failure = ShootFailed(name, self._cameras.get(name) or Camera(source=""), cause, photos)
        self._report(name, failure)
        return failure

    def _report(self, name: str, error: CameraError | None) -> None:
        was = self._errors.pop(name, None)
        if error is not None and name in self._cameras:
            self._errors[name] = error.message
            if was != error.message:
                logger.warning("%s (%s); %s", error.message, error.code, error.hint)
        elif name in self._cameras:
            self._worked.add(name)
        if error is None and was is not None:
            logger.info("camera %s works again", name)
        if self.on_health is not None:
            self.on_health(name, error)

    # ---- warm cameras ----

    async def run(self) -> None:
        """Keep the warm cameras open until cancelled; then close all."""
        tries: dict[str, Tries] = {}
        try:
            while True:
                names = [name for name, camera in self._cameras.items() if camera.warm]
                tries = {name: tries.get(name) or Tries(BACKOFF) for name in names}
                self._changed.clear()
                if not names:
                    await self._changed.wait()
                    continue
                await asyncio.gather(*(self._keep(name, tries[name]) for name in names))
                await ticks.sleep(KEEP_EVERY)
        finally:
            await self.close()

    async def _keep(self, name: str, tries: Tries) -> None:
        session = self._sessions[name]
        if session.ready or tries.left():
            return
        try:
            await session.warm(self._deadline)
        except CameraError as e:
            tries.failed()
            self._failed(name, e, [])
        else:
            tries.succeeded()
            if name in self._errors:
                self._report(name, None)

    async def close(self) -> None:
        """Close all cameras; a later shoot opens them again."""
        for session in tuple(self._sessions.values()):
            with contextlib.suppress(CameraError):
                await session.close()


def _photo(frame: Frame) -> Photo:
    return Photo(frame.jpeg, frame.width, frame.height, frame.taken, now())
