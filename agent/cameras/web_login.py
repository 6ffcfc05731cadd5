"""Requests to an HTTP camera with the login that it asks for."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx

from agent.cameras.login import BYTES, Challenge, Login, choose, read_challenges

_READ = 64 * 1024
"""Bytes of a refusal that are read, so that its connection serves the next request too."""


async def get(client: httpx.AsyncClient, stack: AsyncExitStack, url: httpx.URL, login: Login) -> httpx.Response:
    """The answer to a GET, with the login where the camera asks for one: two requests at most. Raises httpx.HTTPError."""
    response = await _send(client, stack, url, login)
    if response.status_code != 401 or not login:
        return response
    challenges = challenges_in(response)
    chosen = choose(challenges) if challenges else Challenge("basic")
    if chosen is None:
        return response
    login.take(chosen)
    await _read_refusal(response)
    try:
        return await _send(client, stack, url, login)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        # Many cameras close the connection after a refusal without saying so; the next request has a new one.
        return await _send(client, stack, url, login)


def challenges_in(response: httpx.Response) -> list[Challenge]:
    """The challenges of an answer. A realm may be in any encoding: its bytes come back in the answer to the challenge."""
    raw = (value for name, value in response.headers.raw if name.lower() == b"www-authenticate")
    return read_challenges(value.decode(*BYTES) for value in raw)


async def _send(client: httpx.AsyncClient, stack: AsyncExitStack, url: httpx.URL, login: Login) -> httpx.Response:
    header = login.header("GET", url.raw_path.decode("latin-1"))
    headers = [(b"Authorization", header.encode(*BYTES))] if header else []
    return await stack.enter_async_context(client.stream("GET", url, headers=headers))


async def _read_refusal(response: httpx.Response) -> None:
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _READ:
            break
    await response.aclose()
