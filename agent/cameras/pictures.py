"""A picture, a folder of pictures or a video as a camera: for tests, and for programs that write pictures."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agent.cameras.capture import CaptureSession, Converter, as_frame
from agent.cameras.jpeg import MAX_JPEG
from agent.cameras.session import Frame, Session, failed
from agent.cameras.spec import PICTURES, View


class PictureOrder:
    """The order of a folder's pictures, by name; it outlives sessions, so each shot is the next scene."""

    def __init__(self) -> None:
        self._last = ""

    def next(self, path: Path) -> Path:
        """`path` itself, or the folder's next picture after the last; raises CameraError where there is none."""
        if not path.is_dir():
            return path
        names = sorted(p.name for p in path.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))
        if not names:
            raise failed(f"{path} holds no pictures", "camera.not-found", "put JPEG files there")
        self._last = next((n for n in names if n > self._last), names[0])
        return path / self._last


class StillSession:
    """A picture or a folder of pictures."""

    def __init__(self, path: Path, view: View, order: PictureOrder) -> None:
        self._path = path
        self._view = view
        self._order = order
        self._converter = Converter(view)

    async def open(self, timeout: float) -> None:
        """See Session."""
        await self._converter.start()

    async def frame(self, timeout: float) -> Frame:
        """See Session."""
        picture = await asyncio.to_thread(self._read)
        return await as_frame(picture, time.monotonic(), self._view, self._converter)

    def _read(self) -> bytes:
        path = self._path
        try:
            path = self._order.next(path)
            if not path.is_file():
                raise failed(
                    f"{path} does not exist", "camera.not-found", "is its path right, and is its disk mounted?"
                )
            with path.open("rb") as f:
                return f.read(MAX_JPEG + 1)
        except OSError as e:
            raise failed(f"{path} cannot be read: {e.strerror}", "camera.permission") from e

    @property
    def alive(self) -> bool:
        """See Session."""
        return True

    async def close(self) -> None:
        """See Session."""
        await self._converter.close()


def file_session(source: str, view: View, order: PictureOrder) -> Session:
    """The session for `file:PATH`: by its suffix a picture, else a folder or a video."""
    path = Path(source.removeprefix("file:"))
    try:
        video = path.suffix.lower() not in PICTURES and path.exists() and not path.is_dir()
    except OSError:  # a folder above it may not be read; StillSession says so
        video = False
    return CaptureSession(source, view) if video else StillSession(path, view, order)
