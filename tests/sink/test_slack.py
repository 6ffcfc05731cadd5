"""Slack with the real sink: one message for each incident, also after failures."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from agent.errors import ConfigError
from cloud_sink.notify.slack import Slack
from tests.sink.running import Building, RunningSink, encode, running_sink
from tests.sink.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support import eventually


@asynccontextmanager
async def sink_with(slack: SlackServer, data: Path) -> AsyncIterator[RunningSink]:
    options = ("--slack-channel", CHANNEL, "--url", "https://sink.example")
    environ = {"EDGE_SINK_SLACK_TOKEN": TOKEN, "EDGE_SINK_SLACK_API": slack.api}
    async with running_sink(data, *options, environ=environ) as sink:
        yield sink


async def send(sink: RunningSink, *bodies: bytes) -> None:
    headers = {"authorization": f"Bearer {sink.key}"}
    async with httpx.AsyncClient(verify=False, headers=headers, base_url=f"https://127.0.0.1:{sink.port}") as client:
        for body in bodies:
            assert (await client.post("/v1/alerts", content=body)).status_code == 200


def photos(message: dict[str, object]) -> int:
    return sum(b["type"] == "image" for b in message["blocks"])  # type: ignore[attr-defined]


def only(slack: SlackServer) -> dict[str, object]:
    assert len(slack.messages) == 1
    return next(iter(slack.messages.values()))


async def test_an_incident_is_one_message_with_every_cameras_photo(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack, sink_with(slack, tmp_path / "sink") as sink:
        await send(sink, *(encode(building.alert(1, camera=c)) for c in ("porch", "garage")))
        await eventually(lambda: len(slack.messages) == 1 and photos(only(slack)) == 2)
        message = only(slack)
        assert "Person at porch and garage" in str(message["blocks"])
        assert "https://sink.example/incidents/" in str(message["blocks"])
        assert "166 ms from log line to alert" in str(message["blocks"])
        picture = Image.open(io.BytesIO(next(iter(slack.files.values())).content))
        assert picture.format == "JPEG"
        red, green, blue = picture.convert("RGB").getpixel((640 * 3 // 10, 200))  # type: ignore[misc]
        assert red > 200 > blue, f"the box is drawn: {(red, green, blue)}"
        await send(sink, encode(building.alert(2, camera="porch")))
        await eventually(lambda: len(slack.messages) == 2)
    assert TOKEN not in (tmp_path / "sink.log").read_text()
    assert b"xoxb" not in (tmp_path / "sink" / "sink.db").read_bytes()


async def test_sink_waits_after_a_rate_limit_on_any_call(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack, sink_with(slack, tmp_path / "sink") as sink:
        methods = ["files.getUploadURLExternal", "files.completeUploadExternal", "files.info", "chat.postMessage"]
        for n, method in enumerate(methods, 1):
            slack.limited[method] = 1
            await send(sink, encode(building.alert(n)))
            await eventually(lambda n=n: len(slack.messages) == n)  # type: ignore[misc]
        assert [photos(m) for m in slack.messages.values()] == [1, 1, 1, 1]
        assert slack.calls["chat.postMessage"] == 5


async def test_a_message_whose_answer_was_lost_is_not_posted_twice(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack, sink_with(slack, tmp_path / "sink") as sink:
        for n, fault in enumerate(["cut-before", "cut-after", "500"], 1):
            slack.broken["chat.postMessage"] = fault
            await send(sink, encode(building.alert(n)))
            await eventually(lambda n=n: settled(tmp_path / "sink", n))  # type: ignore[misc]
        assert [photos(m) for m in slack.messages.values()] == [1, 1, 1]
        assert slack.calls["upload"] == 3


def settled(data: Path, count: int = 1) -> bool:
    with sqlite3.connect(data / "sink.db") as db:
        found = db.execute("SELECT wanted, shown, message FROM notices").fetchall()
    db.close()
    return len(found) == count and all(wanted == shown and message for wanted, shown, message in found)


async def test_killed_sink_continues_after_a_restart(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack:
        async with sink_with(slack, tmp_path / "sink") as sink:
            slack.slow = 1_000_000
            await send(sink, encode(building.alert(1)))
            await eventually(lambda: slack.calls["files.info"] >= 2)
            await sink.stop(9)
        assert not slack.messages
        slack.slow = 0
        async with sink_with(slack, tmp_path / "sink"):
            await eventually(lambda: settled(tmp_path / "sink"))
            assert photos(only(slack)) == 1


async def test_a_message_that_somebody_deleted_stays_deleted(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack, sink_with(slack, tmp_path / "sink") as sink:
        await send(sink, encode(building.alert(1, camera="porch")))
        await eventually(lambda: settled(tmp_path / "sink"))
        slack.messages.clear()
        await send(sink, encode(building.alert(1, camera="garage")))
        await eventually(lambda: slack.calls["chat.update"] == 1 and settled(tmp_path / "sink"))
        assert not slack.messages


async def test_missing_scope_is_logged_and_the_notice_waits(tmp_path: Path) -> None:
    building = Building()
    async with slack_server() as slack, sink_with(slack, tmp_path / "sink") as sink:
        slack.scopes.discard("files:write")
        await send(sink, encode(building.alert(1)))
        await eventually(lambda: "missing_scope (scope files:write)" in sink.log.read_text())
        assert not slack.messages
        assert not settled(tmp_path / "sink")


@pytest.mark.parametrize(("token", "channel"), [("xoxb-1-a", "#general"), ("hello", CHANNEL), ("", CHANNEL)])
def test_wrong_token_or_channel_is_an_error_at_the_start(token: str, channel: str) -> None:
    with pytest.raises(ConfigError):
        Slack(token, channel)
