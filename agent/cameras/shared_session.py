"""One camera's session: its first user opens it, all share it, and the last one closes it unless it stays warm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

from agent.cameras.capture import CaptureSession
from agent.cameras.pictures import PictureOrder, file_session
from agent.cameras.rtsp import Described
from agent.cameras.session import DAMAGED, Frame, Session, failed
from agent.cameras.spec import Camera
from agent.errors import CameraError, EdgeError

logger = logging.getLogger(__name__)
T = TypeVar("T")


class SharedSession:
    """Takes one frame at a time; a failure or an overrun deadline ends the session."""

    def __init__(self, camera: Camera) -> None:
        self.taken = 0
        """Frames so far."""
        self._camera = camera
        self._order = PictureOrder()
        self._asked: Described | None = None
        self._session: Session | None = None
        self._users = 0
        self._busy = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether it is open or in use."""
        return self._busy.locked() or (self._session is not None and self._session.alive)

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[SharedSession]:
        """Keep it open for the block."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users and not self._camera.warm:
                await asyncio.shield(self._drop())

    async def frame(self, deadline: float) -> Frame:
        """A picture taken after this call, within `deadline` seconds. Raises CameraError."""
        try:
            async with asyncio.timeout(deadline), self._busy:
                frame = await self._or_drop(self._take(deadline))
        except TimeoutError:
            raise failed(f"no picture within {deadline:g} s", "camera.timeout") from None
        self.taken += 1
        if isinstance(self._session, CaptureSession):
            self._asked = self._session.asked
        return frame

    async def warm(self, deadline: float) -> None:
        """Open it if it is not. Raises CameraError."""
        try:
            async with asyncio.timeout(deadline), self._busy:
                await self._or_drop(self._opened(deadline))
        except TimeoutError:
            raise failed(f"it does not open within {deadline:g} s", "camera.timeout") from None

    async def close(self) -> None:
        """Close it now; a frame that is being taken fails."""
        await asyncio.shield(self._drop())

    async def _take(self, deadline: float) -> Frame:
        end = time.monotonic() + deadline
        if self._session is not None and self._session.alive:
            # It was open since an earlier photo and may have died or stalled silently: then open it again.
            try:
                async with asyncio.timeout(deadline / 2):
                    return await self._session.frame(deadline / 2)
            except (CameraError, TimeoutError) as e:
                if isinstance(e, CameraError) and e.code == DAMAGED:
                    raise
                await self._drop()
        session = await self._opened(end - time.monotonic())
        return await session.frame(end - time.monotonic())

    async def _or_drop(self, work: Awaitable[T]) -> T:
        """The work's result; after any exception, the deadline's included, the session is not used again."""
        try:
            return await work
        except BaseException as e:
            self._asked = None
            await asyncio.shield(self._drop())
            if isinstance(e, EdgeError) or not isinstance(e, Exception):
                raise
            # One camera's surprise must not stop the photos of the others.
            logger.exception("an unexpected error of a camera")
            raise failed(f"an unexpected error: {type(e).__name__}", "camera.unexpected") from e

    async def _opened(self, deadline: float) -> Session:
        if self._session is not None and not self._session.alive:
            await self._drop()
        if self._session is None:
            self._session = self._new()
            await self._session.open(deadline)
        return self._session

    def _new(self) -> Session:
        camera = self._camera
        match camera.kind:
            case "http":
                # A node without such a camera does not load the HTTP client: it costs start time and memory.
                from agent.cameras.web import WebSession

                return WebSession(camera.source, camera.view, insecure=camera.insecure)
            case "file":
                return file_session(camera.source, camera.view, self._order)
            case "v4l2" if not Path(camera.source).exists():
                hint = "edge-agent camera list shows the devices that are there"
                raise failed(f"there is no {camera.source}", "camera.not-found", hint)
            case "v4l2" if not os.access(camera.source, os.R_OK | os.W_OK):
                raise failed(f"the agent's user may not open {camera.source}", "camera.permission")
            case _:
                return CaptureSession(camera.source, camera.view, insecure=camera.insecure, asked=self._asked)

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
