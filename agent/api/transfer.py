"""Blobs over HTTP: bytes in, bytes out, streamed."""

from __future__ import annotations

import asyncio
import re
import tempfile

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from agent.api import results
from agent.api.resources import Resources
from agent.errors import BlobError, ConfigError

_PLAIN = re.compile(r"[A-Za-z0-9]{8,128}\Z")
"""The letters of any CID; the store decides whether it is one."""


async def upload(resources: Resources, request: Request) -> results.StoredBlob:
    """Store the body's bytes; raises BlobError over the quota, before anything is stored."""
    limit = resources.config.largest_blob()
    with tempfile.TemporaryFile(dir=resources.config.values.state) as file:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BlobError("the file does not fit the quota", hint="raise blobs.quota", code="blob.quota")
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        file.seek(0)
        return await resources.blobs.add(file.fileno(), size)


async def download(resources: Resources, cid: str, _: Request) -> Response:
    """The bytes of a blob; raises ConfigError if `cid` is not a CID."""
    if not _PLAIN.match(cid):
        raise ConfigError(f"{cid!r} is not a CID", hint="a CID looks like bafkrei…", code="api.request")
    return FileResponse(await resources.blobs.path(cid), media_type="application/octet-stream")
