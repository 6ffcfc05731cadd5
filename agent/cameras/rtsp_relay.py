"""A relay between FFmpeg and an RTSP camera, for logins that FFmpeg does not know: it adds them to FFmpeg's requests.

RTSP and the pictures run over one TCP connection (RFC 2326, 10.12): requests and answers are text with a body, pictures are
packets that begin with `$`, a channel and two bytes of length.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

from agent.cameras.login import BYTES, Login, choose
from agent.cameras.rtsp import Answer, challenges_of, connect

_MAX_BODY = 256 * 1024


class Relay:
    """Listens on the loopback for one player; `url` is the camera's address there."""

    def __init__(self, url: str, login: Login, *, insecure: bool) -> None:
        parts = urlsplit(url)
        self._url, self._base = url, f"{parts.scheme}://{parts.netloc}"
        self._login = login
        self._insecure = insecure
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._own = ""
        self._asked: dict[str, tuple[str, list[str], bytes]] = {}

    async def start(self) -> str:
        """Listen; returns the address for the player. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._own = f"rtsp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self._own + self._url.removeprefix(self._base)

    async def close(self) -> None:
        """Stop listening, and end the connection."""
        if self._server is not None:
            self._server.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._task is not None and not self._task.done():  # one player at a time
            writer.close()
            return
        self._task = asyncio.create_task(self._serve(reader, writer), name="rtsp relay")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            camera_reader, camera_writer = await connect(self._url, insecure=self._insecure)
        except BaseException as e:
            writer.transport.abort()
            if isinstance(e, OSError):
                return
            raise
        ways = (
            asyncio.ensure_future(self._requests(reader, camera_writer)),
            asyncio.ensure_future(self._answers(camera_reader, camera_writer, writer)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            camera_writer.transport.abort()  # a TLS connection would wait for the camera's goodbye
            writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)  # one side has closed, or sent nonsense

    async def _requests(self, reader: asyncio.StreamReader, camera: asyncio.StreamWriter) -> None:
        while True:
            start = await reader.readexactly(1)
            if start == b"$":
                camera.write(start + await _packet(reader))
                continue
            first, lines, body = await _message(start, reader)
            first = first.replace(self._own, self._base, 1)
            number = _field(lines, "cseq")
            self._asked = {number: (first, lines, body)}
            self._send(camera, first, lines, body)
            await camera.drain()

    def _send(self, camera: asyncio.StreamWriter, first: str, lines: list[str], body: bytes) -> None:
        method, uri, *_ = first.split(" ")
        header = self._login.header(method, uri)
        added = [f"Authorization: {header}"] if header else []
        camera.write(("\r\n".join([first, *lines, *added]) + "\r\n\r\n").encode(*BYTES) + body)

    async def _answers(
        self, reader: asyncio.StreamReader, camera: asyncio.StreamWriter, player: asyncio.StreamWriter
    ) -> None:
        while True:
            start = await reader.readexactly(1)
            if start == b"$":
                player.write(start + await _packet(reader))
                await player.drain()
                continue
            first, lines, body = await _message(start, reader)
            answer = Answer("\r\n".join([first, *lines]), body)
            asked = self._asked.pop(_field(lines, "cseq"), None)
            challenge = choose(challenges_of(answer)) if answer.status == 401 else None
            if asked is not None and challenge is not None:
                # Each connection may have another nonce; a second refusal of the request goes to the player.
                self._login.take(challenge)
                self._send(camera, *asked)
                await camera.drain()
                continue
            player.write(("\r\n".join([first, *lines]) + "\r\n\r\n").encode(*BYTES) + body)
            await player.drain()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    """The packet behind its `$`."""
    head = await reader.readexactly(3)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big"))


async def _message(start: bytes, reader: asyncio.StreamReader) -> tuple[str, list[str], bytes]:
    """First line, headers and body of a request or an answer that begins with `start`."""
    head = (start + await reader.readuntil(b"\r\n\r\n")).decode(*BYTES).lstrip("\r\n")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    length = _field(lines, "content-length")
    size = int(length) if re.fullmatch(r"\d{1,6}", length) else 0
    if size > _MAX_BODY:
        raise ValueError(f"a body of {size} bytes")
    return first, lines, await reader.readexactly(size)


def _field(lines: list[str], name: str) -> str:
    return next((v.strip() for k, _, v in (x.partition(":") for x in lines) if k.strip().lower() == name), "")
