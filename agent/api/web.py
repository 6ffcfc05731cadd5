"""HTTP for the routes: JSON in and out, errors with their status, streams with a heartbeat, limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from agent.api.peer import Peer
from agent.api.requests import Nothing
from agent.api.resources import Resources
from agent.api.route import Route
from agent.errors import ConfigError, EdgeError, IdentityError, NotFound, PipelineError, Refused, SinkError, Unreachable
from agent.model.decoding import DAMAGED

logger = logging.getLogger(__name__)

Asked = TypeVar("Asked", bound=msgspec.Struct)

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


class Denied(Refused):
    """The caller may read but not change."""

    code = "api.denied"


class Closing:
    """Set when the server stops, so that endless streams end."""

    def __init__(self) -> None:
        self.event = asyncio.Event()


def endpoint(route: Route) -> Callable[[Request], Awaitable[Response]]:
    """The function that answers the requests of a route."""

    async def answer(request: Request) -> Response:
        resources: Resources = request.app.state.resources
        try:
            if route.operators:
                require_operator(resources.config.values.api.operators, request)
            made = await _answer(route, resources, request)
        except EdgeError as e:
            return failure(e)
        except (ClientDisconnect, asyncio.CancelledError):
            raise
        except Exception as e:
            logger.exception("the API's %s %s failed", request.method, request.url.path)
            return failure(
                EdgeError(f"internal error in the agent: {type(e).__name__}", hint="its log has the details")
            )
        return made if isinstance(made, Response) else json_response(made)

    return answer


async def _answer(route: Route, resources: Resources, request: Request) -> Any:
    asked: list[Any] = [*request.path_params.values()]
    if route.raw:
        asked.append(request)
    elif route.asked is not Nothing:
        reading = route.method == "GET"
        asked.append(query(request, route.asked) if reading else await body(request, route.asked, limit=route.limit))
    made = route.call(resources, *asked)
    return await lines(request, made) if isinstance(made, AsyncIterator) else await made


def require_operator(group: str, request: Request) -> None:
    """Raise Denied unless the caller may change things: root, the agent's user, or a member of this group."""
    peer: Peer = request.state.peer
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
    """The body of an error: code, message, hint, fields, and the CLI's exit code."""
    return {"error": error.to_dict() | {"exit_code": error.exit_code}}


async def body(request: Request, kind: type[Asked], *, limit: int) -> Asked:
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


def query(request: Request, kind: type[Asked]) -> Asked:
    """The request's query as a struct; raises ConfigError. A flag is on when it is 1 or true; unknown keys are left out."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        text = request.query_params.get(field.encode_name)
        if text is not None:
            found[field.encode_name] = text in ("1", "true") if field.type is bool else text
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as e:
        raise ConfigError(f"the request is wrong: {e}", hint="docs/api.md has its form", code="api.request") from None


async def lines(request: Request, rows: AsyncIterator[Any]) -> Response:
    """Newline-delimited JSON, an empty line as heartbeat. An error after the first row is a last row
    `{"error": …}`.

    Raises what `rows` raises before its first row comes (or the first half second is over).
    """
    first = asyncio.ensure_future(anext(rows, None))
    await asyncio.wait({first}, timeout=0.5)
    if first.done() and (error := first.exception()):
        raise error
    return StreamingResponse(_stream(request, rows, first), media_type="application/x-ndjson")


async def _stream(request: Request, rows: AsyncIterator[Any], pending: asyncio.Future[Any]) -> AsyncIterator[bytes]:
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
