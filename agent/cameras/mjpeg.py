"""An MJPEG stream over HTTP that is read all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx

from agent.cameras.frames import Frames
from agent.cameras.jpeg import END, picture_code
from agent.cameras.network import network_error
from agent.cameras.session import failed
from agent.errors import CameraError

FRESH = 0.5
"""Seconds for which a picture that came with the answer to a request counts as taken now."""


class Stream:
    """A response with pictures; a task reads it, so that no old picture waits in a buffer."""

    def __init__(self, chunks: AsyncIterator[bytes], url: str, frames: Frames | None = None) -> None:
        self.given = 0
        """Pictures so far."""
        self._chunks = chunks
        self._url = url
        self._frames = frames or Frames()
        self._last: tuple[bytes, float] | None = None
        self._wanted: asyncio.Future[tuple[bytes, float]] | None = None
        self._error: CameraError | None = None
        self._task = asyncio.create_task(self._read(), name="mjpeg")

    async def _read(self) -> None:
        error, whole = failed("its stream ended", "camera.ended"), True
        try:
            async for chunk in self._chunks:
                for picture in self._frames.feed(chunk):
                    whole, before = picture.endswith(END), whole
                    # A picture is cut off now and then; a camera whose pictures all lack an end is taken as it is.
                    if whole or not before:
                        self._give(picture)
        except httpx.HTTPError as e:
            reason = network_error(e, self._url)
            error = failed(f"its stream ended too early: {reason or type(e).__name__}", "camera.ended")
        except ValueError as e:
            error = failed(f"its stream has no pictures that can be used: {e}", picture_code(e))
        finally:
            if rest := self._frames.rest():
                self._give(rest)
            self._error = error
            if self._wanted is not None and not self._wanted.done():
                self._wanted.set_exception(error)

    def _give(self, picture: bytes) -> None:
        self.given += 1
        self._last = picture, time.monotonic()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(self._last)

    async def next(self) -> tuple[bytes, float]:
        """The next picture that arrives, and its time in monotonic seconds.

        It is the only picture of a stream that has ended, where it has just come: some cameras send a snapshot so.
        """
        if self._error is not None:
            last, self._last = self._last, None
            if self.given == 1 and last is not None and last[1] > time.monotonic() - FRESH:
                return last
            raise self._error
        self._wanted = asyncio.get_running_loop().create_future()
        try:
            return await self._wanted
        finally:
            self._wanted = None

    @property
    def alive(self) -> bool:
        """Whether it is being read."""
        return not self._task.done()

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
