"""One RTSP request to a camera (DESCRIBE, RFC 2326), because FFmpeg does not say why a stream cannot be opened."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from agent.cameras.login import BYTES, Challenge, Login, choose, login_error, read_challenges
from agent.cameras.network import PORTS, network_error
from agent.cameras.session import failed
from agent.cameras.spec import masked, split_credentials

_MAX_HEAD = 16 * 1024
_MAX_BODY = 256 * 1024
_LATE = re.compile(rb"a=rtpmap:\d+ H26[45]/", re.IGNORECASE)
_KNOWN_TO_FFMPEG = frozenset({"MD5"})
"""The digests that the bundled FFmpeg answers, with `auth`; its version 8.1 knows no other."""
_REDIRECTS = 5


class Answer:
    """An RTSP answer: its status, its headers as they came, and its body."""

    def __init__(self, head: str, body: bytes = b"") -> None:
        first, *lines = head.split("\r\n")
        match = re.match(r"RTSP/1\.\d (\d{3})", first)
        self.status = int(match[1]) if match else 0
        self.headers = [(k.strip().lower(), v.strip()) for k, colon, v in (x.partition(":") for x in lines) if colon]
        self.body = body

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [v for k, v in self.headers if k == name]


class Described(NamedTuple):
    """The status of the answer (200, or one that FFmpeg may know better), and the login that the camera took.

    `url` is the address behind all redirects, without the login.
    `late`: the description has no parameters of the stream's H.264 or H.265; they come with a key frame.
    """

    status: int
    login: Login
    url: str
    late: bool = False

    @property
    def needs_relay(self) -> bool:
        """Whether FFmpeg does not know this login."""
        return self.login.digest not in ("", *_KNOWN_TO_FFMPEG) or self.login.whole_body


async def describe(source: str, *, insecure: bool = False) -> Described:
    """Ask for the stream's description; raises CameraError where the cause is certain. The caller bounds the time."""
    url, parts = split_credentials(source)
    login = Login(unquote(parts.username or ""), unquote(parts.password or ""))
    try:
        for _ in range(_REDIRECTS + 1):
            answer = await _ask(url, login, insecure=insecure)
            if answer.status == 401 and login and (chosen := choose(challenges_of(answer))) is not None:
                login.take(chosen)
                answer = await _ask(url, login, insecure=insecure)
            if not 300 <= answer.status < 400 or not answer.all("location"):
                break
            url = _target(url, answer.all("location")[0])
        else:
            raise failed(f"it redirects more than {_REDIRECTS} times", "camera.redirect")
    except (OSError, EOFError, ValueError) as e:
        raise network_error(e, url) or failed(f"it cannot be reached ({type(e).__name__})", "camera.unreachable") from e
    _check(answer, login, url)
    return Described(answer.status, login, url, _LATE.search(answer.body) is not None and b"sprop-" not in answer.body)


def _target(url: str, location: str) -> str:
    """The address of a redirect on the same host; raises CameraError for any other."""
    try:
        target, parts = split_credentials(urljoin(url, location))
    except ValueError:
        raise failed("it redirects to an invalid address", "camera.redirect") from None
    before = urlsplit(url)
    if parts.hostname != before.hostname or parts.scheme not in ("rtsp", "rtsps") or parts.scheme < before.scheme:
        raise failed(f"it redirects to {masked(location)}", "camera.redirect")
    return target


async def connect(url: str, *, insecure: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the camera, over TLS for rtsps; raises OSError."""
    parts = urlsplit(url)
    context = _context(insecure) if parts.scheme == "rtsps" else None
    port = parts.port or PORTS[parts.scheme]
    return await asyncio.open_connection(parts.hostname, port, ssl=context, limit=_MAX_HEAD)


def challenges_of(answer: Answer) -> list[Challenge]:
    """The challenges of an answer."""
    return read_challenges(answer.all("www-authenticate"))


async def _ask(url: str, login: Login, *, insecure: bool) -> Answer:
    """One DESCRIBE on a new connection: some cameras close it after a refusal. Raises OSError, EOFError."""
    reader, writer = await connect(url, insecure=insecure)
    try:
        header = login.header("DESCRIBE", url)
        lines = [f"DESCRIBE {url} RTSP/1.0", "CSeq: 1", "User-Agent: edge-agent", "Accept: application/sdp"]
        lines += [f"Authorization: {header}"] if header else []
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode(*BYTES))
        await writer.drain()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode(*BYTES)
        except asyncio.LimitOverrunError:
            return Answer("")
        length = next((v for k, v in Answer(head).headers if k == "content-length"), "0")
        body = await reader.readexactly(int(length)) if length.isdigit() and int(length) <= _MAX_BODY else b""
        return Answer(head, body)
    finally:
        writer.transport.abort()  # a TLS connection would wait for the camera's goodbye


def _context(insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check(answer: Answer, login: Login, url: str) -> None:
    status = answer.status
    if status == 0:
        raise failed("its answer is not RTSP", "camera.answer", "is the port that of RTSP (554 in most cameras)?")
    if status == 401:
        raise login_error("RTSP 401", challenges_of(answer), login, masked(url))
    if status in (404, 410):
        path = masked(url).partition("://")[2].partition("/")[2]
        raise failed(f"it has no /{path} (RTSP {status})", "camera.not-found")
    if status == 403:
        raise failed("it does not allow this user to watch (RTSP 403)", "camera.denied")
    if status in (453, 503):
        raise failed(f"it is busy (RTSP {status})", "camera.busy")
    if status == 200 and b"m=video" not in answer.body and answer.body:
        raise failed("its stream has no video", "camera.stream")
