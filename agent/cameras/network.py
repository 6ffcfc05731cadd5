"""Errors of a connection to a camera, with their causes named."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from agent.cameras.session import failed
from agent.errors import CameraError

_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_ENDED = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, EOFError)
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


def place(url: str) -> str:
    """Host and port of a URL, for messages."""
    parts = urlsplit(url)
    return f"{parts.hostname}, port {parts.port or PORTS.get(parts.scheme, 0)}"


def network_error(error: BaseException, url: str) -> CameraError | None:
    """The CameraError for a failed connection by its deepest known cause; None where no cause is known."""
    causes = list(_causes(error))
    if isinstance(found := _first(causes, ssl.SSLCertVerificationError), ssl.SSLCertVerificationError):
        return failed(
            f"the certificate of {place(url)} cannot be verified: {found.verify_message}", "camera.certificate"
        )
    if _first(causes, ssl.SSLError):
        return failed(
            f"{place(url)} does not speak TLS as this machine does", "camera.answer", "is it http:// or rtsp://?"
        )
    if _first(causes, socket.gaierror):
        return failed(f"there is no host {urlsplit(url).hostname!r}", "camera.unknown-host")
    if _first(causes, ConnectionRefusedError):
        return failed(f"nothing listens at {place(url)}", "camera.refused")
    if any(isinstance(e, OSError) and e.errno in _UNREACHABLE for e in causes):
        return failed(f"there is no way to {place(url)}", "camera.unreachable")
    if _first(causes, TimeoutError):
        return failed(f"{place(url)} does not answer in time", "camera.timeout")
    if any(isinstance(e, _ENDED) for e in causes):
        return failed(f"{place(url)} closed the connection", "camera.ended")
    return None


def _first(causes: list[BaseException], kind: type[BaseException]) -> BaseException | None:
    return next((e for e in causes if isinstance(e, kind)), None)


def _causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    """The error, its causes, and the errors of a group (one for each address that was tried)."""
    if error is None or depth > 8:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one, depth + 1)
    yield from _causes(error.__cause__ or error.__context__, depth + 1)
