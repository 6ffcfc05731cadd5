"""Unexpected answers: from a proxy, incomplete, or from a failing Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from cloud_sink.incidents import Incident, Picture
from cloud_sink.notify.channel import Books, Later
from cloud_sink.notify.queue import Pending
from cloud_sink.notify.slack import Slack
from tests.sink.slack_server import CHANNEL, TOKEN, slack_server

_PHOTO = Picture("/photos/1.jpg", 640, 360, 20, "porch", "10:00:00", "a photo", [])


def incident(*pictures: Picture) -> Incident:
    alerts: list[dict[str, Any]] = [{"received_ms": 1_790_000_000_000}]
    return Incident(
        "m", "r", 1, "", "", "", "10:00:00", "", "Person", "", "", False, [], list(pictures), [], 0.0, 1, alerts
    )


def pending(*, posting: bool = False) -> Pending:
    return Pending(1, "m", "r", 1, "", posting, {}, 0)


async def _nothing(_: object) -> None:
    """Do nothing: this test stores no state."""


def books(photo: bytes = b"jpeg") -> Books:
    async def picture(_: Picture) -> bytes:
        return photo

    return Books(_nothing, _nothing, picture)


@asynccontextmanager
async def answering(status: int, kind: str, body: bytes) -> AsyncIterator[Slack]:
    """Slack's channel, with a server in place of Slack that always gives the same answer."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"content-type": kind, "retry-after": "7"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    slack = Slack(TOKEN, CHANNEL, api=f"http://127.0.0.1:{runner.addresses[0][1]}/api/")
    try:
        yield slack
    finally:
        await slack.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (503, "text/plain", b"upstream connect error"),
        (200, "text/plain", b"hello"),
        (502, "text/html", b"<html>"),
        (200, "application/json", b'{"ok":tr'),
        (200, "application/json", b'{"ok":"\xff"}'),
        (200, "application/json", b""),
        (200, "application/json", b"[1]"),
        (500, "application/json", b"[1]"),
        (200, "application/json", b"null"),
        (200, "application/json", b"[" * 5000),
        (200, "application/json; charset=nonsense", b"{}"),
        (200, "application/gzip", b"xx"),
        (500, "application/gzip", b"xx"),
        (200, "application/json", b'{"ok": true}'),
        (200, "application/json", b'{"ok": true, "ts": 5, "messages": [1], "upload_url": null, "file": 0}'),
    ],
)
@pytest.mark.parametrize("at", ["post", "upload", "find"])
async def test_request_with_an_unexpected_answer_is_tried_again(status: int, kind: str, body: bytes, at: str) -> None:
    async with answering(status, kind, body) as slack:
        with pytest.raises(Later, match="Slack's answer") as e:
            await slack.show(pending(posting=at == "find"), incident(*[_PHOTO] * (at == "upload")), books())
    assert e.value.maybe_posted


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
async def test_rate_limit_counts_with_any_body(kind: str) -> None:
    async with answering(429, kind, b"slow down") as slack:
        with pytest.raises(Later, match="too many requests") as e:
            await slack.show(pending(), incident(), books())
    assert e.value.seconds == 7


async def test_message_is_posted_without_an_unreadable_photo() -> None:
    async with slack_server() as server:
        slack = Slack(TOKEN, CHANNEL, api=server.api)
        try:
            assert await slack.show(pending(), incident(_PHOTO), books(b"")) in server.messages
        finally:
            await slack.close()
    assert not server.files
