"""Blobs: bytes in, bytes out, streamed."""

from __future__ import annotations

import asyncio
import re
import tempfile

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from agent.api.facade import AgentFacade, Json
from agent.api.web import get, post
from agent.config import blob_quota
from agent.errors import BlobError, ConfigError

_CID = re.compile(r"[A-Za-z0-9]{8,128}\Z")


async def blobs(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/blobs."""
    return await agent.blob_list()


async def add(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/blobs with the bytes as body."""
    limit = blob_quota(agent.config.blobs.quota, agent.config.state)
    with tempfile.TemporaryFile(dir=agent.config.state) as file:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BlobError("the file does not fit the quota", hint="raise blobs.quota", code="blob.quota")
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        file.seek(0)
        return await agent.blob_add(file.fileno(), size)


async def fetch(agent: AgentFacade, request: Request) -> Response:
    """GET /v1/blobs/{cid}."""
    cid = request.path_params["cid"]
    if not _CID.match(cid):
        raise ConfigError(f"{cid!r} is not a CID", hint="a CID looks like bafkrei…", code="api.request")
    return FileResponse(await agent.blob_path(cid), media_type="application/octet-stream")


ROUTES = [get("/v1/blobs", blobs), post("/v1/blobs", add), get("/v1/blobs/{cid}", fetch)]
