"""The Slack of the tests is as strict as Slack's documentation, checked with a plain HTTP client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.sink.slack_server import CHANNEL, TOKEN, SlackServer, slack_server

IN = {"authorization": f"Bearer {TOKEN}"}


async def post(slack: SlackServer, method: str, headers: dict[str, str] | None = None, **form: Any) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        answer = await client.post(slack.api + method, data=form, headers=IN if headers is None else headers)
        return dict(answer.json())


async def test_token_is_required_and_checked() -> None:
    async with slack_server() as slack:
        assert (await post(slack, "chat.postMessage", {}))["error"] == "not_authed"
        assert (await post(slack, "chat.postMessage", {"authorization": "Bearer xoxb-no"}))["error"] == "invalid_auth"
        slack.scopes.clear()
        refused = await post(slack, "chat.postMessage", channel=CHANNEL, text="x")
        assert (refused["error"], refused["needed"]) == ("missing_scope", "chat:write")


async def test_upload_needs_three_calls_in_order_and_the_exact_length() -> None:
    async with slack_server() as slack, httpx.AsyncClient() as client:
        assert (await post(slack, "files.getUploadURLExternal", filename="a.jpg"))["error"] == "invalid_arguments"
        place = await post(slack, "files.getUploadURLExternal", filename="a.jpg", length="4")
        files = json.dumps([{"id": place["file_id"]}])
        assert (await post(slack, "files.completeUploadExternal", files=files))["error"] == "file_not_found"
        assert (await client.post(place["upload_url"], content=b"12345")).status_code == 400
        assert (await client.post(place["upload_url"], content=b"1234", headers=IN)).status_code == 400
        assert (await client.post(place["upload_url"], content=b"1234")).status_code == 200
        assert (await post(slack, "files.completeUploadExternal", files=files))["ok"]


async def test_a_message_may_not_show_a_file_that_is_not_ready() -> None:
    async with slack_server() as slack:
        image = [{"type": "image", "slack_file": {"id": "F1"}, "alt_text": "x"}]
        said = await post(slack, "chat.postMessage", channel=CHANNEL, text="x", blocks=json.dumps(image))
        assert said["error"] == "invalid_blocks"


@pytest.mark.parametrize("channel", ["general", "#general", "", "C999"])
async def test_a_channel_is_named_by_its_id(channel: str) -> None:
    async with slack_server() as slack:
        assert (await post(slack, "chat.postMessage", channel=channel, text="x"))["error"] == "channel_not_found"


async def test_each_requested_fault_occurs_once() -> None:
    async with slack_server() as slack:
        slack.limited["chat.postMessage"] = 7
        slack.broken["chat.update"] = "cut-before"
        async with httpx.AsyncClient() as client:
            limited = await client.post(slack.api + "chat.postMessage", headers=IN)
            assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(slack.api + "chat.update", headers=IN)
        assert (await post(slack, "chat.postMessage", channel=CHANNEL, text="x"))["ok"]
        assert (await post(slack, "chat.postMessage", channel=CHANNEL))["error"] == "no_text"
