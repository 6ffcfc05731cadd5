"""One RTSP request to a camera (DESCRIBE, RFC 2326), because FFmpeg does not say why a stream cannot be opened."""

from __future__ import annotations

import asyncio
import re
import ssl
from urllib.parse import unquote, urlsplit

from agent.cameras.login import Login, choose, login_error, read_challenges
from agent.cameras.network import PORTS, network_error
from agent.cameras.session import failed
from agent.cameras.spec import masked, split_credentials

_MAX_HEAD = 16 * 1024
_MAX_BODY = 256 * 1024
_KNOWN_TO_FFMPEG = frozenset({"MD5"})
"""The digests that the bundled FFmpeg answers; its version 8.1 knows no other."""


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


async def describe(source: str, *, insecure: bool = False) -> int:
    """Ask for the stream's description; returns the status where FFmpeg may know better: 200, a redirect, or an odd one.

    Raises CameraError where the cause is certain. The caller bounds the time.
    """
    url, parts = split_credentials(source)
    login = Login(unquote(parts.username or ""), unquote(parts.password or ""))
    try:
        answer = await _ask(url, login, insecure=insecure)
        if answer.status == 401 and login:
            chosen = choose(read_challenges(answer.all("www-authenticate")))
            if chosen is not None:
                login.take(chosen)
                answer = await _ask(url, login, insecure=insecure)
    except (OSError, EOFError, ValueError) as e:
        raise network_error(e, url) or failed(f"it cannot be reached ({type(e).__name__})", "camera.unreachable") from e
    _check(answer, login, url)
    return answer.status


async def _ask(url: str, login: Login, *, insecure: bool) -> Answer:
    """One DESCRIBE on a connection of its own: some cameras close it after a refusal. Raises OSError, EOFError."""
    parts = urlsplit(url)
    context = _context(insecure) if parts.scheme == "rtsps" else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or PORTS[parts.scheme], ssl=context, limit=_MAX_HEAD
    )
    try:
        header = login.header("DESCRIBE", url)
        lines = [f"DESCRIBE {url} RTSP/1.0", "CSeq: 1", "User-Agent: edge-agent", "Accept: application/sdp"]
        lines += [f"Authorization: {header}"] if header else []
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return Answer("")
        length = next((v for k, v in Answer(head).headers if k == "content-length"), "0")
        body = await reader.readexactly(int(length)) if length.isdigit() and int(length) <= _MAX_BODY else b""
        return Answer(head, body)
    finally:
        writer.close()


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
    challenges = read_challenges(answer.all("www-authenticate"))
    if status == 401:
        raise login_error("RTSP 401", challenges, login, masked(url))
    if status in (404, 410):
        path = masked(url).partition("://")[2].partition("/")[2]
        raise failed(f"it has no /{path} (RTSP {status})", "camera.not-found")
    if status == 403:
        raise failed("it does not allow this user to watch (RTSP 403)", "camera.denied")
    if status in (453, 503):
        raise failed(f"it is busy (RTSP {status})", "camera.busy")
    if status == 200 and login.digest not in ("", *_KNOWN_TO_FFMPEG):
        hint = "choose Digest with MD5, or Basic, as RTSP authentication in the camera's settings"
        raise failed(
            f"it wants a login by Digest {login.digest}, which FFmpeg does not know", "camera.authentication", hint
        )
    if status == 200 and b"m=video" not in answer.body and answer.body:
        raise failed("its stream has no video", "camera.stream")
