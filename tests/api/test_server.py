"""The API on a real unix socket: rights, errors, limits, streams, and the socket itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from agent.api import serve_api
from agent.api.peer import Peer, peer_of
from agent.api.results import EventRow
from agent.api.route import MAX_BODY
from agent.config import Config
from agent.errors import ConfigError, Refused
from tests.api.memory import EVENT, MAC, MemoryAgent, serving
from tests.support import eventually


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[MemoryAgent]:
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
async def http(agent: MemoryAgent) -> AsyncIterator[httpx.AsyncClient]:
    async with client(agent.config.run) as made:
        yield made


def client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://agent", timeout=10)


async def test_every_reading_route_answers_with_json(http: httpx.AsyncClient) -> None:
    for path in (
        "status", "checks", "config", "nodes", "nodes/gpu", "pending", "tokens", "pipelines", "pipeline-schema",
        "pipelines/person-at-the-door", "pipelines/person-at-the-door/history", "devices", "cameras", "blobs", "sink",
        "egress", "trace/alert",
    ):  # fmt: skip
        answer = await http.get(f"/v1/{path}")
        assert answer.status_code == 200, path
        assert answer.json(), path


@pytest.mark.parametrize(
    ("method", "path", "body", "call"),
    [
        ("POST", "pending/K7Q2", {"labels": {"a": "b"}}, ("approve", "K7Q2", {"a": "b"})),
        ("POST", "nodes/ap/rename", {"name": "attic"}, ("rename", "ap", "attic")),
        ("POST", "nodes/ap/labels", {"add": {"x": "1"}, "drop": ["y"]}, ("label", "ap", {"x": "1"}, ["y"])),
        ("DELETE", "nodes/ap", None, ("remove", "ap")),
        ("POST", "tokens", {"ttl": 60, "uses": 2}, ("token", 60.0, 2, "member", {})),
        ("DELETE", "tokens/t1", None, ("revoke", "t1")),
        ("POST", "pipelines/person-at-the-door/pause", {"seconds": 5}, ("pause", "person-at-the-door", 5.0)),
        ("POST", "pipelines/person-at-the-door/resume", None, ("resume", "person-at-the-door")),
        ("POST", "pipelines/person-at-the-door/rollback", {}, ("rollback", "person-at-the-door", "")),
        ("DELETE", "pipelines/person-at-the-door", None, ("remove-pipeline", "person-at-the-door")),
        (
            "POST",
            "pipelines/person-at-the-door/trigger",
            {"step": "photos", "data": {"a": 1}},
            ("trigger", "person-at-the-door", "photos", "edge.trigger", {"a": 1}),
        ),
    ],
)
async def test_changes_reach_the_agent(
    agent: MemoryAgent, http: httpx.AsyncClient, method: str, path: str, body: Any, call: tuple[Any, ...]
) -> None:
    answer = await http.request(method, f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert agent.calls == [call]


async def test_a_pipeline_travels_with_its_modules(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    body = msgspec.msgpack.encode({"text": "steps:", "file": "a.yaml", "files": {"f.wasm": b"\0asm"}, "dry_run": True})
    answer = await http.post("/v1/pipelines", content=body, headers={"content-type": "application/msgpack"})
    assert answer.status_code == 200
    assert agent.calls == [("apply", "a.yaml", {"f.wasm": b"\0asm"}, True)]


@pytest.mark.parametrize(
    ("path", "status", "code", "exit_code"),
    [
        ("nodes/nobody", 404, "not-found", 6),
        ("nothing", 404, "api.request", 6),
        ("status?watch=often", 400, "api.request", 2),
        ("events?limit=-1", 400, "api.request", 2),
        ("logs/unknown", 404, "not-found", 6),
        ("blobs/..%2f..%2fetc", 404, "api.request", 6),
        ("blobs/no-such!", 400, "api.request", 2),
        ("blobs/bafkreinothere", 404, "not-found", 6),
    ],
)
async def test_errors_have_a_status_a_code_a_message_and_a_hint(
    http: httpx.AsyncClient, path: str, status: int, code: str, exit_code: int
) -> None:
    answer = await http.get(f"/v1/{path}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["exit_code"]) == (status, code, exit_code)
    assert error["message"]


async def test_a_pipeline_error_keeps_its_fields(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/pipeline-files", json={"text": "x", "file": "door.yaml"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["line"]) == (400, "pipeline", 1)


async def test_a_bug_inside_is_an_error_without_its_insides(
    agent: MemoryAgent, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> Any:
        raise KeyError("s3cret")

    agent.resources.status.checks = broken  # type: ignore[method-assign]
    answer = await http.get("/v1/checks")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "s3cret" not in answer.text
    assert "/v1/checks" in caplog.text
    assert (await http.get("/v1/status")).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b'{"uses": "many"}',
        b'{"uses": 0}',
        b'{"unknown": 1}',
        b"[1]",
        b'{"role": "king"}',
        b'{"ttl": 1e99}',
        b"\xff",
        b'{"uses":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"unknown":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
async def test_a_wrong_body_is_refused(agent: MemoryAgent, http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/v1/tokens", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "api.request")
    assert agent.calls == []


async def test_a_huge_body_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/tokens", content=b" " * (MAX_BODY + 1))
    assert answer.json()["error"]["code"] == "api.too-large"


async def test_a_blob_goes_in_and_comes_out(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    data = os.urandom(3 << 20)
    cid = (await http.post("/v1/blobs", content=data)).json()["cid"]
    assert (await http.get(f"/v1/blobs/{cid}")).content == data


async def test_a_blob_above_the_quota_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    config = Config(
        state=tmp_path, run=tmp_path / "q.sock", blobs=msgspec.convert({"quota": 1000}, type=type(Config().blobs))
    )
    agent = MemoryAgent(config)
    async with running(agent), client(config.run) as http:
        answer = await http.post("/v1/blobs", content=b"x" * 1001)
    assert answer.json()["error"]["code"] == "blob.quota"
    assert agent.blobs == {}


async def test_events_stream_as_they_pass(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/v1/events?follow=1&limit=1") as answer:
        lines = answer.aiter_lines()
        assert msgspec.json.decode(await anext(lines))["id"] == EVENT.id
        agent.events_queue.put_nowait(msgspec.structs.replace(EVENT, id="second"))
        assert msgspec.json.decode(await anext(lines))["id"] == "second"


async def test_a_silent_stream_has_a_heartbeat(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.web.HEARTBEAT", 0.05)
    async with http.stream("GET", "/v1/events?follow=1&limit=0") as answer:
        assert await anext(answer.aiter_raw()) == b"\n"


async def test_an_error_in_a_stream_is_its_last_row(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/logs/person-at-the-door?follow=1&lines=2")
    rows = [msgspec.json.decode(line) for line in answer.text.splitlines() if line]
    assert [r.get("line") for r in rows] == ["line 0", "line 1", None]
    assert rows[-1]["error"]["code"] == "refused"


async def test_watching_the_status_shows_changes(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    async with http.stream("GET", "/v1/status?watch=0.5") as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        agent.state.node.name = "renamed"
        assert msgspec.json.decode(await anext(lines))["node"]["name"] == "renamed"


async def test_a_reader_that_leaves_ends_its_stream(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    ended = []

    async def forever(*_: Any) -> AsyncIterator[EventRow]:
        try:
            while True:
                yield EVENT
                await asyncio.sleep(0.01)
        finally:
            ended.append(True)

    agent.resources.events.passing = forever  # type: ignore[method-assign]
    async with http.stream("GET", "/v1/events?follow=1") as answer:
        await anext(answer.aiter_lines())
    await eventually(lambda: ended)


async def test_stopping_ends_streams_and_leaves_no_socket(tmp_path: Path) -> None:
    agent = MemoryAgent(Config(state=tmp_path, run=tmp_path / "a.sock"))
    async with client(agent.config.run) as http:
        async with running(agent):
            request = asyncio.create_task(http.get("/v1/events?follow=1&limit=0"))
            await eventually(lambda: agent.events_queue._getters)
        assert (await request).status_code == 200
    assert list(tmp_path.iterdir()) == []


async def test_the_socket_is_closed_to_others(agent: MemoryAgent) -> None:
    mode = agent.config.run.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o660
    assert mode.st_uid == os.geteuid()


async def test_a_second_agent_on_the_same_socket_is_refused(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    with pytest.raises(Refused, match="another agent") as caught:
        await serve_api(agent.resources)
    assert caught.value.code == "agent.running"
    assert (await http.get("/v1/status")).status_code == 200


async def test_a_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "a.sock"))
    async with serving(tmp_path) as agent, client(agent.config.run) as http:
        assert (await http.get("/v1/status")).status_code == 200


async def test_a_path_that_no_socket_can_have_is_a_config_error(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 110), tmp_path / "file" / "a.sock"):
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError) as caught:
            await serve_api(MemoryAgent(Config(state=tmp_path, run=path)).resources)
        assert caught.value.hint


def test_the_kernel_names_the_peer() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert peer_of(left) == Peer(os.getpid(), os.getuid(), os.getgid())


def test_root_and_the_agents_user_may_change_things() -> None:
    assert Peer(1, 0, 0).may_change("no-such-group")
    assert Peer(1, os.geteuid(), os.getegid()).may_change("no-such-group")
    assert not Peer(1, 65534, 65534).may_change("no-such-group")
    assert not Peer(1, 65534, 65534).may_change("root")
    assert not Peer(1, 4_000_000, 4_000_000).may_change("root")


def test_a_member_of_the_operators_group_may_change_things() -> None:
    import grp
    import pwd

    user = next((u for u in pwd.getpwall() if u.pw_uid not in (0, os.geteuid())), None)
    if user is None:
        pytest.skip("this host has one user")
    assert Peer(1, user.pw_uid, user.pw_gid).may_change(grp.getgrgid(user.pw_gid).gr_name)


STRANGER = """
import httpx, os, sys
with httpx.Client(transport=httpx.HTTPTransport(uds=sys.argv[1]), base_url="http://agent") as http:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    print(http.get("/v1/status").status_code)
    print(http.post("/v1/pipeline-diff", json={"text": "x"}).status_code)
    refused = http.post("/v1/tokens")
    print(refused.status_code, refused.json()["error"]["code"])
    print(http.delete("/v1/nodes/ap").status_code)
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_another_user_with_the_group_may_read_and_not_change(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    async with serving(tmp_path) as agent:
        os.chown(agent.config.run, -1, 65534)
        task = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STRANGER, str(agent.config.run), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await task.communicate()
        assert out.decode().split() == ["200", "200", "403", "api.denied", "403"]
        assert agent.calls == []


async def test_names_with_odd_letters_reach_the_agent_whole(agent: MemoryAgent, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"/v1/devices/{MAC}", json={"name": "Zoë's ☎"})
    assert answer.json()["name"] == "Zoë's ☎"
    assert agent.devices[MAC].name == "Zoë's ☎"


@contextlib.asynccontextmanager
async def running(agent: MemoryAgent) -> AsyncIterator[None]:
    task = asyncio.create_task(serve_api(agent.resources))
    try:
        await eventually(agent.config.run.exists)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
