"""Pictures by a capture worker: V4L2, RTSP and video files, and pictures to be turned, masked or cut."""

from __future__ import annotations

import asyncio
import time

import msgspec

from agent.cameras.jpeg import START, examine, picture_code
from agent.cameras.network import place
from agent.cameras.rtsp import Described, describe
from agent.cameras.rtsp_relay import Relay
from agent.cameras.session import DAMAGED, Frame, failed
from agent.cameras.spec import View
from agent.cameras.worker import Ask, Reply
from agent.children import Child, TooLarge
from agent.errors import CameraError

MARGIN = 0.9
"""Share of the time for a picture after which the worker says why there is none; later its parent would only kill it."""
_REPLIES = msgspec.msgpack.Decoder(Reply)


async def _start() -> Child:
    """Start a capture worker, which loads OpenCV meanwhile; raises CameraError."""
    try:
        return await Child.start("agent.cameras.worker", "camera-worker")
    except OSError as e:
        raise failed(f"its capture process does not start: {e.strerror}", "camera.worker", "is the memory full?") from e


async def _ask(child: Child | None, ask: Ask) -> Reply:
    """One request and its reply; raises CameraError with the worker's error, or when it ends."""
    if child is None:
        raise failed("its capture process is not running", "camera.worker")
    try:
        reply = _REPLIES.decode(await child.ask(msgspec.msgpack.encode(ask)))
    except TooLarge as e:
        raise failed("its picture is too large", "camera.too-large") from e
    except (OSError, EOFError, msgspec.DecodeError) as e:
        raise failed("its capture process died", "camera.worker") from e
    if reply.error:
        raise failed(reply.error, reply.code)
    return reply


class CaptureSession:
    """A V4L2 device, an RTSP stream or a video file, each read by one worker.

    `asked` has the RTSP camera's answer to the question about its stream: it is asked again only after it failed.
    """

    def __init__(self, source: str, view: View, *, insecure: bool = False, asked: Described | None = None) -> None:
        self._source = source
        self._view = view
        self._insecure = insecure
        self.asked = asked
        self._child: Child | None = None
        self._relay: Relay | None = None

    async def open(self, timeout: float) -> None:
        """See Session."""
        end = time.monotonic() + timeout * MARGIN
        self._child = await _start()  # it loads OpenCV while the camera is asked
        if not self._source.startswith("rtsp"):
            await self._open(self._source, end)
            return
        before, self.asked = self.asked, self.asked or await self._describe(end)
        try:
            await self._open_stream(self.asked, end)
        except CameraError as e:
            if e.code not in ("camera.stream", "camera.timeout", "camera.ended"):
                raise
            if before is not None:
                self.asked = await self._describe(end)
            if self.asked.status == 200:
                raise
            raise failed(f"it answers with RTSP {self.asked.status}", "camera.answer") from e

    async def _describe(self, end: float) -> Described:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await describe(self._source, insecure=self._insecure)
        except TimeoutError:
            raise failed(f"{place(self._source)} does not answer in time", "camera.timeout") from None

    async def _open_stream(self, asked: Described, end: float) -> None:
        source = self._source
        if asked.needs_relay:
            self._relay = Relay(asked.url, asked.login, insecure=self._insecure)
            source = await self._relay.start()
        await self._open(source, end, late=asked.late)

    async def _open(self, source: str, end: float, *, late: bool = False) -> None:
        await _ask(self._child, Ask("open", source, until=end, insecure=self._insecure, late=late))

    async def frame(self, timeout: float) -> Frame:
        """See Session."""
        until = time.monotonic() + timeout * MARGIN
        reply = await _ask(self._child, Ask("frame", view=self._view, until=until))
        return Frame(reply.jpeg, reply.width, reply.height, reply.taken)

    @property
    def alive(self) -> bool:
        """See Session."""
        return self._child is not None and self._child.alive

    async def close(self) -> None:
        """See Session."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()
        if self._relay is not None:
            await self._relay.close()


class Converter:
    """Turns, masks and cuts pictures that come as files, in a worker that the first one starts."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._child: Child | None = None

    async def start(self) -> None:
        """Start the worker now where this view needs it."""
        if not self._view.plain and self._child is None:
            self._child = await _start()

    async def apply(self, picture: bytes, taken: float) -> Frame:
        """The picture as this view has it, as JPEG. Raises CameraError."""
        if self._child is None:
            self._child = await _start()
        reply = await _ask(self._child, Ask("convert", view=self._view, picture=picture))
        return Frame(reply.jpeg, reply.width, reply.height, taken)

    async def close(self) -> None:
        """Kill the worker if there is one."""
        if self._child is not None:
            await self._child.close()


async def as_frame(picture: bytes, taken: float, view: View, converter: Converter) -> Frame:
    """The picture as a frame that every decoder takes: a sound JPEG passes unchanged, anything else is converted.

    The converter repairs what a JPEG decoder can: a missing end, CMYK, missing tables. Raises CameraError.
    """
    if is_other_picture(picture):
        return await converter.apply(picture, taken)
    try:
        found = examine(picture)
    except ValueError as e:
        raise _not_a_picture(picture, e) from e
    if found.sound and view.plain:
        return Frame(picture[found.start :], found.width, found.height, taken)
    return await converter.apply(picture[found.start :], taken)


def is_other_picture(data: bytes | bytearray) -> bool:
    """PNG, BMP, WebP or TIFF by its first bytes."""
    return (
        data[:4] in (b"\x89PNG", b"II*\0", b"MM\0*")
        or data[:2] == b"BM"
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    )


def _not_a_picture(data: bytes, error: ValueError) -> CameraError:
    start = data[:64].lstrip().lower()
    if not data:
        return failed("it sends nothing where a picture should be", "camera.picture")
    if start.startswith((b"<", b"{")):
        return failed("it sends a page of text, not a picture", "camera.picture")
    if START in data[:4096]:
        return failed(f"its picture cannot be used: {error}", picture_code(error, DAMAGED))
    return failed(f"its data is not a picture: {error}", "camera.picture")
