"""Leftovers of an earlier run of the agent are removed where possible, and never keep the agent from starting."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import Unreachable
from agent.executors import DockerExecutor, NoLog, ProcessExecutor, folders
from agent.executors.dialogue import Dialogue
from agent.executors.docker import executor as docker
from agent.model.task import DockerTask, Limits

BUSY = 'driver "overlay2" failed to remove root filesystem: device or resource busy'


class Stubborn(ThreadingHTTPServer):
    """An engine with two of our containers; it does not remove the first, as a real engine sometimes does."""

    def __init__(self, left: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.left = left
        self.code = 204
        self.lists = True
        self.removed: list[str] = []
        self.left_then: list[bool] = []
        self.looks = 0

    @property
    def host(self) -> str:
        return f"tcp://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """The few addresses of the engine's API that a start uses."""

    server: Stubborn

    def do_GET(self) -> None:
        self.server.looks += self.path == "/v1.44/version"
        if not self.path.endswith("/containers/json") and "/containers/json?" not in self.path:
            self.answer(200, {"ApiVersion": "1.44"})
        elif self.server.lists:
            self.answer(200, [{"Id": letter * 64} for letter in "ab"])
        else:
            self.answer(500, {"message": "context deadline exceeded"})

    def do_DELETE(self) -> None:
        ident = self.path.split("?")[0][-64:]
        self.server.left_then.append(self.server.left.exists())
        if ident.startswith("a") and self.server.code != 204:
            self.answer(self.server.code, {"message": BUSY})
        else:
            self.server.removed.append(ident[0])
            self.answer(204, None)

    def answer(self, code: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A file of a container of an earlier run."""
    file = tmp_path / "scratch" / "ab12" / "outputs" / "photo"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


@pytest.fixture
def stubborn(left: Path) -> Iterator[Stubborn]:
    with Stubborn(left) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("code", [204, 404, 409, 500])
async def test_one_stubborn_container_stops_neither_start_nor_sweep(
    stubborn: Stubborn, tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn.code = code
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    await executor.start()
    assert executor.available
    assert stubborn.removed[-1] == "b"
    assert (BUSY in caplog.text) == (code in (409, 500))
    await executor.close()


async def test_agent_starts_when_the_engine_cannot_list_containers(
    stubborn: Stubborn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn.lists = False
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    await executor.start()
    assert executor.available
    assert "deadline exceeded" in caplog.text
    await executor.close()


async def _open(executor: DockerExecutor) -> None:
    dialogue = Dialogue("docker", Limits(), NoLog(), 1.0)
    await executor.open(DockerTask(image="x"), "step", executor.folders(), dialogue, once=False)


async def test_a_sweep_spares_a_container_that_is_being_made(
    stubborn: Stubborn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, go = asyncio.Event(), asyncio.Event()

    async def slowly(*_: object, once: bool) -> SimpleNamespace:
        made.set()
        await go.wait()
        return SimpleNamespace(id="a" * 64)

    monkeypatch.setattr(docker, "open_container", slowly)
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    await executor.start()
    stubborn.removed.clear()
    opening = asyncio.create_task(_open(executor))
    await made.wait()
    executor._away(Unreachable("it took too long"))
    assert await executor.check()
    go.set()
    await opening
    assert not stubborn.removed
    executor._away(Unreachable("it took too long"))
    assert await executor.check()
    assert stubborn.removed == ["b"]  # now it is known for ours
    await executor.close()


async def test_concurrent_checks_look_for_the_engine_once(
    stubborn: Stubborn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    assert await asyncio.gather(executor.check(), executor.check(), executor.check()) == [True] * 3
    assert stubborn.looks == 1
    await executor.close()


async def test_folders_are_cleared_after_their_containers_are_removed(
    stubborn: Stubborn, tmp_path: Path, left: Path
) -> None:
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    await executor.start()
    assert stubborn.left_then == [True, True]
    assert not left.exists()
    await executor.close()


async def test_folders_that_cannot_be_cleared_stay_until_next_start(
    stubborn: Stubborn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def filling(*_: object) -> None:
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(folders, "empty", filling)
    executor = DockerExecutor("me", tmp_path / "scratch", host=stubborn.host)
    await executor.start()
    ProcessExecutor(tmp_path / "scratch")
    assert caplog.text.count("Directory not empty") == 2
    await executor.close()
