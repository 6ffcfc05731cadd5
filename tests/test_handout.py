"""Handing out the files of a release."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from agent import handout
from agent.handout import Handout, is_complete

SCRIPT = b"#!/bin/sh\necho installed\n"
BIG = bytes(range(256)) * 4000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a release, and with things that are not handed out."""
    made = tmp_path / "packages"
    made.mkdir()
    (made / "install.sh").write_bytes(SCRIPT)
    (made / "manifest.json").write_bytes(b"{}")
    (made / "edge-agent-1.0.0-x86_64.tar.xz").write_bytes(BIG)
    (made / "empty").write_bytes(b"")
    (made / ".hidden").write_bytes(b"x")
    (made / "folder").mkdir()
    (made / "link").symlink_to("/etc/hostname")
    (tmp_path / "secret").write_bytes(b"x")
    return made


def client(app: Handout) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://node")


async def test_installer_and_packages_are_handed_out(folder: Path) -> None:
    async with client(Handout(folder)) as asked:
        answer = await asked.get("/install")
        assert (answer.status_code, answer.content) == (200, SCRIPT)
        answer = await asked.get("/install/edge-agent-1.0.0-x86_64.tar.xz")
        assert (answer.status_code, answer.content) == (200, BIG)
        assert (await asked.get("/install/empty")).content == b""
        answer = await asked.head("/install/edge-agent-1.0.0-x86_64.tar.xz")
        assert (answer.content, answer.headers["content-length"]) == (b"", str(len(BIG)))


@pytest.mark.parametrize(
    "path",
    ["/", "/install/none", "/install/../secret", "/install/..%2fsecret", "/install/.hidden", "/install/folder",
     "/install/link", "/installx", "/install/a/b", "/install/%00", "/v1/status"],
)  # fmt: skip
async def test_nothing_else_is_handed_out(folder: Path, path: str) -> None:
    async with client(Handout(folder)) as asked:
        assert (await asked.get(path)).status_code == 404


async def test_other_methods_are_refused(folder: Path) -> None:
    async with client(Handout(folder)) as asked:
        for method in ("POST", "PUT", "DELETE"):
            assert (await asked.request(method, "/install", content=b"x")).status_code == 405


async def test_missing_folder_is_not_found_and_not_complete(tmp_path: Path, folder: Path) -> None:
    async with client(Handout(tmp_path / "none")) as asked:
        assert (await asked.get("/install")).status_code == 404
    assert not is_complete(tmp_path / "none")
    assert is_complete(folder)
    (folder / "manifest.json").unlink()
    assert not is_complete(folder)


async def test_sender_that_asks_too_often_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handout, "BURST", 3.0)
    monkeypatch.setattr(handout, "RATE", 1e-6)
    async with client(Handout(folder)) as asked:
        codes = [(await asked.get("/install")).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


async def test_files_on_their_way_at_once_are_limited(folder: Path) -> None:
    app, released, codes = Handout(folder), asyncio.Event(), []

    async def get() -> None:
        async def send(message: handout.Scope) -> None:
            if message["type"] == "http.response.start":
                codes.append(message["status"])
            elif codes[-1] == 200:
                await released.wait()

        async def receive() -> handout.Scope:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": "/install", "client": ("192.0.2.1", 1)}
        await app(scope, receive, send)

    async with asyncio.TaskGroup() as tasks:
        for number in range(handout.AT_ONCE_EACH + 1):
            tasks.create_task(get())
            while len(codes) <= number:
                await asyncio.sleep(0)
        released.set()
    assert codes == [200] * handout.AT_ONCE_EACH + [503]
    async with client(app) as asked:
        assert (await asked.get("/install")).status_code == 200
