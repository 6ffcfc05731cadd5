"""The parent's side of a capture child: V4L2, RTSP and video files, and pictures that must be turned, masked or cut."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import suppress

import msgspec

from agent.cameras.jpeg import jpeg_size
from agent.cameras.session import Frame, failed
from agent.cameras.spec import View
from agent.cameras.worker import HEADER, MAX_MESSAGE, Ask, Reply
from agent.environment import clean_environment

logger = logging.getLogger(__name__)

GONE = 2.0
"""Seconds that a killed child may take to go."""
_REPLIES = msgspec.msgpack.Decoder(Reply)


def command(fd: int) -> list[str]:
    """How to start the child: through the interpreter, or through the frozen agent itself."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "camera-worker", str(fd)]
    return [sys.executable, "-P", "-m", "agent.cameras.worker", str(fd)]


class Child:
    """One capture process. It is of no use after an exception: close it, which kills it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def alive(self) -> bool:
        """Whether it runs and listens."""
        return self.pid is not None and self._reader is not None and not self._reader.at_eof()

    async def start(self) -> None:
        """Start the process; OpenCV loads on its own time."""
        mine, its = socket.socketpair()
        with its:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command(its.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(its.fileno(),),
                    env=clean_environment(),
                    start_new_session=True,
                )
            except OSError as e:
                mine.close()
                raise failed(
                    f"its capture process does not start: {e.strerror}", "is the machine out of memory?"
                ) from e
            except BaseException:
                mine.close()
                raise
        self._reader, self._writer = await asyncio.open_connection(sock=mine)

    async def ask(self, ask: Ask) -> Reply:
        """One request and its reply; raises CameraError with what the child says, or when it dies."""
        if self._reader is None or self._writer is None:
            raise failed("its capture process is not running", "try again")
        data = msgspec.msgpack.encode(ask)
        try:
            self._writer.write(HEADER.pack(len(data)) + data)
            await self._writer.drain()
            (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            if size > MAX_MESSAGE:
                raise failed("its picture is too large")
            reply = _REPLIES.decode(await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError, msgspec.DecodeError) as e:
            raise failed("its capture process died") from e
        if reply.error:
            raise failed(reply.error)
        return reply

    async def close(self) -> None:
        """Kill it, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        if process is not None:
            try:
                async with asyncio.timeout(GONE):
                    await process.wait()
            except TimeoutError:  # stuck in a driver: it dies when that lets go, and nobody waits for it
                logger.warning("the capture process %d does not die; its device hangs", process.pid)


class CaptureSession:
    """A V4L2 device, an RTSP stream or a video file, in a child of its own."""

    def __init__(self, source: str, view: View) -> None:
        self._source = source
        self._view = view
        self.child = Child()

    async def open(self, timeout: float) -> None:
        """See Session."""
        await self.child.start()
        await self.child.ask(Ask("open", self._source, timeout=timeout))

    async def frame(self) -> Frame:
        """See Session."""
        reply = await self.child.ask(Ask("frame", view=self._view))
        return Frame(reply.jpeg, reply.width, reply.height, reply.taken)

    @property
    def alive(self) -> bool:
        """See Session."""
        return self.child.alive

    async def close(self) -> None:
        """See Session."""
        await self.child.close()


class Converter:
    """Turns, masks and cuts pictures that come as files, in a child that is started with the first one."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._child: Child | None = None

    async def start(self) -> None:
        """Start the child now where pictures will need it."""
        if not self._view.plain and self._child is None:
            self._child = Child()
            await self._child.start()

    async def apply(self, picture: bytes, taken: float) -> Frame:
        """The picture as this view has it, as JPEG. Raises CameraError."""
        if self._child is None:
            self._child = Child()
            await self._child.start()
        reply = await self._child.ask(Ask("convert", view=self._view, picture=picture))
        return Frame(reply.jpeg, reply.width, reply.height, taken)

    async def close(self) -> None:
        """Kill the child if there is one."""
        if self._child is not None:
            await self._child.close()


async def as_frame(picture: bytes, taken: float, view: View, converter: Converter) -> Frame:
    """The picture as a frame: a whole JPEG goes through untouched, anything else through the converter."""
    try:
        width, height = jpeg_size(picture)
    except ValueError as e:
        if picture[:2] == b"\xff\xd8" or not _is_picture(picture):
            raise failed(f"what it sends is no picture: {e}") from e
        return await converter.apply(picture, taken)
    if view.plain:
        return Frame(picture, width, height, taken)
    return await converter.apply(picture, taken)


def _is_picture(data: bytes) -> bool:
    """PNG, BMP, WebP or TIFF by its first bytes."""
    return data[:4] in (b"\x89PNG", b"II*\0", b"MM\0*") or data[:2] == b"BM" or data[:4] == b"RIFF"
