"""A Slack that runs here: the Web API methods that the sink uses, as strict as Slack's documentation says they are.

Sources (docs.slack.dev): "Using the Web API" (token in the Authorization header, form or JSON bodies, HTTP 200 with
`{"ok": false, "error": …}`), "Rate limits" (HTTP 429 with Retry-After), "Working with files" (external upload in three
calls), and the pages of files.getUploadURLExternal, files.completeUploadExternal, files.info, chat.postMessage,
chat.update and conversations.history.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

TOKEN = "xoxb-1234567890-abcdefghijkl"
CHANNEL = "C0123456789"
SCOPES = frozenset({"chat:write", "files:write", "files:read", "channels:history"})
_NEEDS = {
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "files.info": "files:read",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "channels:history",
}


@dataclass
class File:
    """An upload on its way: `announced` bytes, then uploaded, then completed, then looked at `slow` times."""

    id: str
    name: str
    announced: int
    content: bytes = b""
    completed: bool = False
    looks: int = 0


class ApiError(Exception):
    """An error that is answered as `{"ok": false, "error": …}`."""

    def __init__(self, error: str, **more: str) -> None:
        super().__init__(error)
        self.error, self.more = error, more


@dataclass
class SlackServer:
    """The workspace: files, messages, and the faults to come."""

    scopes: set[str] = field(default_factory=lambda: set(SCOPES))
    files: dict[str, File] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    limited: dict[str, int] = field(default_factory=dict)
    """Method → Retry-After of its next answer, once."""
    broken: dict[str, str] = field(default_factory=dict)
    """Method → `500`, `cut-before` or `cut-after` (done, but the answer never arrives), once."""
    slow: int = 1
    """How often files.info says that a file is not ready yet."""
    port: int = 0

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    async def call(self, request: Request) -> Response:
        method = request.path_params["method"]
        self.calls[method] += 1
        if wait := self.limited.pop(method, 0):
            headers = {"retry-after": str(wait)}
            return JSONResponse({"ok": False, "error": "ratelimited"}, 429, headers)
        fault = self.broken.pop(method, "")
        if fault == "500":
            return PlainTextResponse("internal error", 500)
        if fault == "cut-before":
            return _Cut()
        try:
            arguments = await self._arguments(request)
            self._allowed(request, method)
            answer = {"ok": True, **getattr(self, "_" + method.replace(".", "_"))(arguments)}
        except ApiError as e:
            answer = {"ok": False, "error": e.error, **e.more}
        return _Cut() if fault == "cut-after" else JSONResponse(answer)

    async def upload(self, request: Request) -> Response:
        self.calls["upload"] += 1
        if request.headers.get("authorization"):
            return PlainTextResponse("the token does not belong here", 400)
        file = self.files.get(request.path_params["file"])
        content = await request.body()
        if file is None or file.content:
            return PlainTextResponse("unknown upload", 404)
        if len(content) != file.announced:
            return PlainTextResponse(f"{len(content)} bytes came, {file.announced} were announced", 400)
        file.content = content
        return PlainTextResponse(f"OK - {len(content)}")

    async def _arguments(self, request: Request) -> dict[str, Any]:
        kind = request.headers.get("content-type", "").split(";")[0]
        raw = await request.body()
        if kind == "application/json":
            return dict(json.loads(raw))
        if kind == "application/x-www-form-urlencoded" or not raw:
            text = raw.decode() if raw else request.url.query
            return {k: v[0] for k, v in parse_qs(text, strict_parsing=bool(text)).items()}
        raise ApiError("invalid_post_type")

    def _allowed(self, request: Request, method: str) -> None:
        header = request.headers.get("authorization", "")
        if not header:
            raise ApiError("not_authed")
        if header != f"Bearer {TOKEN}":
            raise ApiError("invalid_auth")
        if method not in _NEEDS:
            raise ApiError("unknown_method")
        if _NEEDS[method] not in self.scopes:
            raise ApiError("missing_scope", needed=_NEEDS[method], provided=",".join(sorted(self.scopes)))

    def _files_getUploadURLExternal(self, a: dict[str, Any]) -> dict[str, Any]:
        if not a.get("filename") or not str(a.get("length", "")).isdigit() or int(a["length"]) < 1:
            raise ApiError("invalid_arguments")
        file = File(f"F{len(self.files):010d}", a["filename"], int(a["length"]))
        self.files[file.id] = file
        return {"upload_url": f"http://127.0.0.1:{self.port}/upload/{file.id}", "file_id": file.id}

    def _files_completeUploadExternal(self, a: dict[str, Any]) -> dict[str, Any]:
        wanted = json.loads(a["files"]) if isinstance(a.get("files"), str) else a.get("files")
        if not isinstance(wanted, list) or not wanted:
            raise ApiError("invalid_arguments")
        if "channel_id" in a:
            _channel(a["channel_id"])
        for entry in wanted:
            file = self.files.get(entry.get("id", ""))
            if file is None or not file.content:
                raise ApiError("file_not_found")
            file.completed = True
        return {"files": [{"id": e["id"], "title": e.get("title", "")} for e in wanted]}

    def _files_info(self, a: dict[str, Any]) -> dict[str, Any]:
        file = self.files.get(a.get("file", ""))
        if file is None or not file.completed:
            raise ApiError("file_not_found")
        file.looks += 1
        return {"file": {"id": file.id, "name": file.name, "mimetype": "image/jpeg" if file.looks > self.slow else ""}}

    def _chat_postMessage(self, a: dict[str, Any]) -> dict[str, Any]:
        _channel(a.get("channel"))
        message = self._message(a)
        ts = f"1790000000.{len(self.messages):06d}"
        self.messages[ts] = message
        return {"channel": a["channel"], "ts": ts, "message": message}

    def _chat_update(self, a: dict[str, Any]) -> dict[str, Any]:
        _channel(a.get("channel"))
        if a.get("ts") not in self.messages:
            raise ApiError("message_not_found")
        self.messages[a["ts"]] = self._message(a)
        return {"channel": a["channel"], "ts": a["ts"], "text": a.get("text", "")}

    def _conversations_history(self, a: dict[str, Any]) -> dict[str, Any]:
        _channel(a.get("channel"))
        if not 1 <= int(a.get("limit", 100)) <= 999 or not re.fullmatch(r"\d+(\.\d{6})?", str(a.get("oldest", "0"))):
            raise ApiError("invalid_arguments")
        newest_first = sorted(self.messages.items(), reverse=True)
        return {"messages": [{"ts": ts, **m} for ts, m in newest_first], "has_more": False}

    def _message(self, a: dict[str, Any]) -> dict[str, Any]:
        blocks = json.loads(a["blocks"]) if isinstance(a.get("blocks"), str) else a.get("blocks", [])
        if not a.get("text") and not blocks:
            raise ApiError("no_text")
        if len(blocks) > 50:
            raise ApiError("invalid_blocks")
        ids = [b["block_id"] for b in blocks if "block_id" in b]
        if len(set(ids)) != len(ids) or any(len(i) > 255 for i in ids):
            raise ApiError("invalid_blocks")
        for block in blocks:
            self._block(block)
        return {"text": a.get("text", ""), "blocks": blocks}

    def _block(self, block: dict[str, Any]) -> None:
        match block.get("type"):
            case "section":
                good = 1 <= len(block["text"]["text"]) <= 3000 and block["text"]["type"] in ("mrkdwn", "plain_text")
            case "context":
                good = 1 <= len(block["elements"]) <= 10
            case "image":
                file = self.files.get(block.get("slack_file", {}).get("id", ""))
                ready = file is not None and file.completed and file.looks > self.slow
                title = block.get("title", {"type": "plain_text"})
                good = ready and 1 <= len(block["alt_text"]) <= 2000 and title["type"] == "plain_text"
            case _:
                good = False
        if not good:
            raise ApiError("invalid_blocks")


def _channel(value: Any) -> None:
    if value != CHANNEL:
        raise ApiError("channel_not_found")


class _Cut(Response):
    """Send half an answer, then close the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b'{"ok": ', "more_body": False})


@contextmanager
def _nothing() -> Iterator[None]:
    """Leave signals to the test."""
    yield


@asynccontextmanager
async def slack_server() -> AsyncIterator[SlackServer]:
    """An empty server on loopback, in this event loop."""
    slack = SlackServer()
    app = Starlette(
        routes=[
            Route("/api/{method}", slack.call, methods=["GET", "POST"]),
            Route("/upload/{file}", slack.upload, methods=["POST"]),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    slack.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    server.capture_signals = _nothing  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield slack
    finally:
        server.should_exit = True
        await task
        listener.close()
