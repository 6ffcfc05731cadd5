"""Cameras over HTTP: a snapshot per request, or an MJPEG stream, as the camera answers."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from urllib.parse import unquote

import httpx

from agent.cameras.capture import MARGIN, Converter, as_frame, is_other_picture
from agent.cameras.frames import Frames
from agent.cameras.jpeg import MAX_JPEG, picture_code
from agent.cameras.login import Login, login_error
from agent.cameras.mjpeg import FRESH, Stream
from agent.cameras.network import network_error, place
from agent.cameras.session import DAMAGED, Frame, failed
from agent.cameras.spec import View, masked, split_credentials
from agent.cameras.web_body import body_of
from agent.cameras.web_login import challenges_in, get
from agent.errors import CameraError

# Both log addresses and headers, credentials included.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

DAMAGED_IN_ROW = 5
"""Damaged pictures of a stream that are skipped before the error is said."""
REDIRECTS = 5
MAX_TEXT = 120
"""Characters of an answer that is not HTTP in an error."""


class WebSession:
    """One HTTP camera; its answers show whether it gives snapshots or a stream."""

    def __init__(self, source: str, view: View, *, insecure: bool = False) -> None:
        self._url, parts = split_credentials(source)
        self._login = Login(unquote(parts.username or ""), unquote(parts.password or ""))
        self._view = view
        self._insecure = insecure
        self._stack = AsyncExitStack()
        self._converter = Converter(view)
        self._client: httpx.AsyncClient | None = None
        self._asked = self._url
        self._stream: Stream | None = None
        self._first: tuple[bytes, float] | None = None

    async def open(self, timeout: float) -> None:
        """See Session. It makes the first request: a warm camera's stream then runs already."""
        client = httpx.AsyncClient(
            verify=_any_certificate() if self._insecure else True,
            timeout=httpx.Timeout(timeout * MARGIN),
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )
        self._client = await self._stack.enter_async_context(client)
        await self._converter.start()
        self._first = await self._request()

    async def _request(self) -> tuple[bytes, float] | None:
        """One GET: the first picture and its time, or None where only a stream has started."""
        if self._client is None:
            raise failed("it is not open", "camera.ended")
        await self._end_stream()
        async with AsyncExitStack() as stack:
            try:
                response = await self._answer(self._client, stack)
                chunks = body_of(response)
                if response.headers.get("content-type", "").lower().startswith("multipart/"):
                    self._stream = Stream(chunks, self._url)
                    self._stack.push_async_exit(stack.pop_all())
                    return None
                picture, frames = await _first_picture(chunks, response)
                taken = time.monotonic()
                if frames is not None and "content-length" not in response.headers:
                    self._stream = Stream(chunks, self._url, frames)
                    self._stack.push_async_exit(stack.pop_all())
                return picture, taken
            except httpx.HTTPError as e:
                raise self._named(e) from e
            except (httpx.InvalidURL, UnicodeError) as e:
                raise failed("its address, or the one that it redirects to, has no valid host", "camera.address") from e

    async def _answer(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> httpx.Response:
        """The answer with status 200; redirects on the same host are followed, with the login. Raises CameraError."""
        url = httpx.URL(self._url)
        self._asked = self._url
        for _ in range(REDIRECTS + 1):
            response = await get(client, stack, url, self._login)
            if not response.has_redirect_location:
                self._check(response)
                return response
            try:
                target = url.join(response.headers["location"])
            except httpx.InvalidURL as e:
                raise failed("it redirects to an invalid address", "camera.redirect") from e
            if (target.port or 0) > 65535:
                raise failed("it redirects to an invalid address", "camera.redirect")
            if target.host != url.host or target.scheme not in ("http", "https") or target.scheme < url.scheme:
                raise failed(f"it redirects to {masked(str(target))}", "camera.redirect")
            await response.aclose()
            url, self._asked = target, str(target)
        raise failed(f"it redirects more than {REDIRECTS} times", "camera.redirect", "open its address in a browser")

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        if status == 401:
            raise login_error("HTTP 401", challenges_in(response), self._login, masked(self._url))
        if status in (404, 410):
            path = masked(str(response.url)).partition("://")[2].partition("/")[2]
            raise failed(f"it has no /{path} (HTTP {status})", "camera.not-found")
        if status == 403:
            raise failed("it does not allow this user to watch (HTTP 403)", "camera.denied")
        if status in (429, 503):
            raise failed(f"it is busy (HTTP {status})", "camera.busy")
        raise failed(f"it answers with HTTP {status}", "camera.answer")

    def _named(self, error: httpx.HTTPError) -> CameraError:
        if isinstance(error, httpx.TimeoutException):
            return failed(f"{place(self._asked)} does not answer in time", "camera.timeout")
        if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError):
            return failed(f"its answer is not HTTP: {str(error)[:MAX_TEXT]}", "camera.answer")
        known = network_error(error, self._asked)
        return known or failed(f"it cannot be reached ({type(error).__name__})", "camera.unreachable")

    async def frame(self, timeout: float) -> Frame:
        """See Session."""
        last: CameraError | None = None
        for _ in range(DAMAGED_IN_ROW):
            picture, taken = await self._picture()
            try:
                return await as_frame(picture, taken, self._view, self._converter)
            except CameraError as e:
                if e.code not in (DAMAGED, "camera.picture") or self._stream is None:
                    raise
                last = e
        if last is not None and last.code != DAMAGED:
            raise last
        raise failed(f"the last {DAMAGED_IN_ROW} pictures of its stream are damaged", DAMAGED)

    async def _picture(self) -> tuple[bytes, float]:
        got, self._first = self._first, None
        if got is not None and got[1] > time.monotonic() - FRESH:
            return got
        if self._stream is None and (got := await self._request()) is not None:
            return got
        if self._stream is None:
            raise failed("it gave no picture", "camera.picture")
        return await self._stream.next()

    @property
    def alive(self) -> bool:
        """See Session."""
        return self._client is not None and (self._stream is None or self._stream.alive)

    async def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def close(self) -> None:
        """See Session."""
        self._client = None
        await self._end_stream()
        with suppress(httpx.HTTPError):
            await self._stack.aclose()
        await self._converter.close()


async def _first_picture(chunks: AsyncIterator[bytes], response: httpx.Response) -> tuple[bytes, Frames | None]:
    """The first picture of an answer, and the search for more where the answer goes on; else its whole body.

    A camera may announce more bytes than it sends, and then close the connection: the picture counts.
    """
    frames, data = Frames(), bytearray()
    try:
        async for chunk in chunks:
            data += chunk
            if not is_other_picture(data) and (found := frames.feed(chunk)):
                return found[0], frames
            if len(data) > MAX_JPEG:
                break
    except ValueError as e:
        raise failed(str(e), picture_code(e)) from e
    except (httpx.RemoteProtocolError, httpx.DecodingError):
        if not frames.rest():
            raise
    if len(data) > MAX_JPEG:
        raise failed(f"its picture is larger than {MAX_JPEG >> 20} MiB", "camera.too-large")
    return frames.rest() or bytes(data), None


def _any_certificate() -> ssl.SSLContext:
    """TLS without a check of the certificate, as old as the camera speaks it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context
