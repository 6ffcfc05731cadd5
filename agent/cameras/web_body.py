"""The body of an HTTP camera's answer, decompressed in pieces: a small body may hold gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import httpx

_PIECE = 1 << 18
"""Bytes that are decompressed at once."""
_ANY_HEADER, _NO_HEADER = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS


async def body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes of the body; a body that is not compressed as its header says comes as it is. Raises httpx.HTTPError."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    windows = [_ANY_HEADER, _NO_HEADER] if encoding == "deflate" else [_ANY_HEADER] if "gzip" in encoding else []
    stream = None
    async for raw in response.aiter_raw():
        chunk = raw
        while stream is None and windows:
            stream = zlib.decompressobj(windows.pop(0))
            try:
                start = stream.decompress(chunk, _PIECE)
            except zlib.error:
                stream = None
            else:
                yield start
                chunk = stream.unconsumed_tail
        if stream is None:
            yield chunk
        while stream is not None and chunk:
            try:
                yield stream.decompress(chunk, _PIECE)
            except zlib.error as e:
                raise httpx.DecodingError(f"its compressed data is damaged: {e}") from e
            chunk = stream.unconsumed_tail
