"""What all route modules share: JSON in and out, errors with their status, streams with a heartbeat,
limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent.api.facade import AgentFacade
from agent.api.peer import Peer
from agent.errors import (
    ConfigError,
    EdgeError,
    IdentityError,
    NotFound,
    PipelineError,
    Refused,
    SinkError,
    Unreachable,
)
from agent.model.decoding import DAMAGED

logger = logging.getLogger(__name__)

MAX_BODY = 1 << 20
"""Largest request body in bytes, where a route does not say otherwise."""
MAX_FILES = 64 << 20
"""Largest pipeline in bytes with the modules that it names."""
HEARTBEAT = 10.0
"""Seconds without news after which a stream sends an empty line."""
MSGPACK = "application/msgpack"
_STATUS: tuple[tuple[type[EdgeError], int], ...] = (
    (ConfigError, 400),
    (PipelineError, 400),
    (NotFound, 404),
    (Refused, 409),
    (IdentityError, 403),
    (Unreachable, 503),
    (SinkError, 502),
)

Handler = Callable[[AgentFacade, Request], Awaitable[Any]]
Body = TypeVar("Body")


class Denied(Refused):
    """The caller may read but not change."""

    code = "api.denied"


class Closing:
    """Set when the server stops, so that endless streams end."""

    def __init__(self) -> None:
        self.event = asyncio.Event()


def get(path: str, handler: Handler) -> Route:
    """A route that reads."""
    return Route(path, _endpoint(handler, changes=False), methods=["GET"])


def post(path: str, handler: Handler, *, changes: bool = True, method: str = "POST") -> Route:
    """A route that changes something (root or the operators' group only) unless `changes` is False."""
    return Route(path, _endpoint(handler, changes=changes), methods=[method])


def _endpoint(handler: Handler, *, changes: bool) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        agent: AgentFacade = request.app.state.agent
        try:
            if changes:
                require_operator(agent, request)
            answer = await handler(agent, request)
        except EdgeError as e:
            return failure(e)
        except (ClientDisconnect, asyncio.CancelledError):
            raise
        except Exception as e:
            logger.exception("the API's %s %s failed", request.method, request.url.path)
            return failure(EdgeError(f"the agent failed inside: {type(e).__name__}", hint="its log has the details"))
        return answer if isinstance(answer, Response) else json_response(answer)

    return endpoint


def require_operator(agent: AgentFacade, request: Request) -> None:
    """Raise Denied unless the caller may change things."""
    peer: Peer = request.state.peer
    group = agent.config.api.operators
    if not peer.may_change(group):
        raise Denied(
            "this changes the mesh or the node, and your user may only read",
            hint=f"use sudo, or join the group {group}: sudo usermod -aG {group} $USER",
        )


def json_response(value: Any, status: int = 200) -> Response:
    """Any struct or plain data as JSON (bytes as base64)."""
    return Response(msgspec.json.encode(value, enc_hook=str), status, media_type="application/json")


def failure(error: EdgeError) -> Response:
    """The error as JSON with its HTTP status."""
    status = next((s for kind, s in _STATUS if isinstance(error, kind)), 500)
    return json_response(describe(error), 403 if isinstance(error, Denied) else status)


def describe(error: EdgeError) -> dict[str, Any]:
    """What clients get: code, message, hint, fields, and the CLI's exit code."""
    return {"error": error.to_dict() | {"exit_code": error.exit_code}}


async def body(request: Request, kind: type[Body], *, limit: int = MAX_BODY) -> Body:
    """The request's body as a struct (JSON, or msgpack by content type); raises ConfigError."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise ConfigError(f"the request is larger than {limit} bytes", hint="send less", code="api.too-large")
    decode = msgspec.msgpack.decode if request.headers.get("content-type") == MSGPACK else msgspec.json.decode
    try:
        return decode(bytes(raw) or b"{}", type=kind)
    except DAMAGED as e:
        raise ConfigError(f"the request is wrong: {e}", hint="docs/api.md has its form", code="api.request") from None


def query(request: Request, name: str, default: str = "", *, most: int = 256) -> str:
    """A query parameter as text."""
    value = request.query_params.get(name, default)
    if len(value) > most:
        raise ConfigError(f"{name} is too long", hint=f"at most {most} characters", code="api.request")
    return value


def query_number(request: Request, name: str, default: float, *, least: float, most: float) -> float:
    """A query parameter as a number within bounds."""
    text = query(request, name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise ConfigError(f"{name}={text} is not a number from {least:g} to {most:g}", code="api.request")
    return value


def query_flag(request: Request, name: str) -> bool:
    """A query parameter that is on when it is 1 or true."""
    return query(request, name) in ("1", "true")


async def lines(request: Request, rows: AsyncIterator[dict[str, Any]]) -> Response:
    """Newline-delimited JSON, an empty line as heartbeat. An error after the first row is a last row
    `{"error": …}`.

    Raises what `rows` raises before its first row comes (or the first half second is over).
    """
    first = asyncio.ensure_future(anext(rows, None))
    await asyncio.wait({first}, timeout=0.5)
    if first.done() and (error := first.exception()):
        raise error
    return StreamingResponse(_stream(request, rows, first), media_type="application/x-ndjson")


async def _stream(
    request: Request, rows: AsyncIterator[dict[str, Any]], pending: asyncio.Future[dict[str, Any] | None]
) -> AsyncIterator[bytes]:
    closing = asyncio.ensure_future(request.app.state.closing.event.wait())
    try:
        while True:
            done, _ = await asyncio.wait({pending, closing}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
            if closing in done:
                return
            if not done:
                yield b"\n"
                continue
            row = pending.result()
            if row is None:
                return
            yield msgspec.json.encode(row, enc_hook=str) + b"\n"
            pending = asyncio.ensure_future(anext(rows, None))
    except EdgeError as e:
        yield msgspec.json.encode(describe(e), enc_hook=str) + b"\n"
    finally:
        closing.cancel()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        if hasattr(rows, "aclose"):
            await rows.aclose()
