"""Cameras over HTTP: a snapshot per request, or an MJPEG stream, as the camera answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from urllib.parse import unquote

import httpx

from agent.cameras.capture import Converter, as_frame
from agent.cameras.jpeg import MAX_JPEG
from agent.cameras.multipart import Parts, boundary_of
from agent.cameras.session import Frame, failed
from agent.cameras.spec import View, split_credentials
from agent.errors import CameraError

# Both log addresses and headers, credentials included.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


FRESH = 0.5
"""Seconds for which the snapshot that answered the opening counts as the first photo."""


class Stream:
    """An MJPEG response; a task reads it, so that no old picture waits in a buffer."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._parts = Parts(boundary)
        self._wanted: asyncio.Future[tuple[bytes, float]] | None = None
        self._error: CameraError | None = None
        self._task = asyncio.create_task(self._read(), name="mjpeg")

    async def _read(self) -> None:
        error = failed("its stream ended")
        try:
            async for chunk in self._chunks:
                for part in self._parts.feed(chunk):
                    self._give(part)
        except httpx.HTTPError as e:
            error = failed(f"its stream ended too early ({type(e).__name__})")
        except ValueError as e:
            error = failed(f"its stream is malformed: {e}")
        finally:
            self._error = error
            if self._wanted is not None and not self._wanted.done():
                self._wanted.set_exception(error)

    def _give(self, part: bytes) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result((part, time.monotonic()))

    async def next(self) -> tuple[bytes, float]:
        """The next picture that arrives, and its time in monotonic seconds."""
        if self._error is not None:
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


class WebSession:
    """One HTTP camera; its first answer shows whether it gives snapshots or a stream."""

    def __init__(self, source: str, view: View, *, insecure: bool = False) -> None:
        self._url, parts = split_credentials(source)
        self._login = (unquote(parts.username or ""), unquote(parts.password or ""))
        self._digest = httpx.DigestAuth(*self._login)
        self._basic = False
        self._view = view
        self._insecure = insecure
        self._stack = AsyncExitStack()
        self._converter = Converter(view)
        self._client: httpx.AsyncClient | None = None
        self._stream: Stream | None = None
        self._first: tuple[bytes, float] | None = None

    async def open(self, timeout: float) -> None:
        """See Session. It makes the first request: a warm camera's stream then runs already."""
        client = httpx.AsyncClient(
            verify=not self._insecure, timeout=httpx.Timeout(timeout), follow_redirects=False, trust_env=False
        )
        self._client = await self._stack.enter_async_context(client)
        await self._converter.start()
        self._first = await self._request()

    async def _request(self) -> tuple[bytes, float] | None:
        """One GET: the snapshot and its time, or None where a stream has started."""
        if self._client is None:
            raise failed("it is not open", "try again")
        async with AsyncExitStack() as stack:
            try:
                response = await self._send(self._client, stack)
                self._check(response)
                boundary = boundary_of(response.headers.get("content-type", ""))
                if boundary is not None:
                    self._stream = Stream(response.aiter_bytes(), boundary)
                    self._stack.push_async_exit(stack.pop_all())
                    return None
                return await _bounded(response), time.monotonic()
            except httpx.TimeoutException as e:
                raise failed("it does not answer in time") from e
            except httpx.HTTPError as e:
                raise failed(f"it cannot be reached ({type(e).__name__})") from e

    async def _send(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> httpx.Response:
        """GET with the authentication that the camera asks for, digest or basic."""
        known = any(self._login)
        auth = (httpx.BasicAuth(*self._login) if self._basic else self._digest) if known else None
        response = await stack.enter_async_context(client.stream("GET", self._url, auth=auth))
        asked = response.headers.get("www-authenticate", "").lower()
        if response.status_code == 401 and known and not self._basic and asked.startswith("basic"):
            self._basic = True
            await response.aclose()
            response = await stack.enter_async_context(
                client.stream("GET", self._url, auth=httpx.BasicAuth(*self._login))
            )
        return response

    def _check(self, response: httpx.Response) -> None:
        if response.status_code in (401, 403):
            raise failed(
                f"it refuses the user or password (HTTP {response.status_code})", "write http://USER:PASSWORD@HOST/…"
            )
        if response.status_code != 200:
            raise failed(f"it answers with HTTP {response.status_code}", "is the path of the address right?")

    async def frame(self) -> Frame:
        """See Session."""
        got, self._first = self._first, None
        if self._stream is None and (got is None or got[1] < time.monotonic() - FRESH):
            got = await self._request()
        if self._stream is not None:
            got = await self._stream.next()
        if got is None:
            raise failed("it gave no picture")
        return await as_frame(*got, self._view, self._converter)

    @property
    def alive(self) -> bool:
        """See Session."""
        return self._client is not None and (self._stream is None or self._stream.alive)

    async def close(self) -> None:
        """See Session."""
        self._client = None
        if self._stream is not None:
            await self._stream.close()
        with suppress(httpx.HTTPError):
            await self._stack.aclose()
        await self._converter.close()


async def _bounded(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MAX_JPEG:
            raise failed(f"its picture is larger than {MAX_JPEG >> 20} MiB")
    return bytes(data)
