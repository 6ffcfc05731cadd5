"""Apprise by a real HTTP service on loopback: one message for each incident, with its photo."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from agent.errors import ConfigError
from cloud_sink.notify.others import read_others
from tests.sink.running import Building, encode, running_sink
from tests.support import eventually


async def test_incident_is_sent_once_with_photo_and_secret_urls(tmp_path: Path) -> None:
    got: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(next(ln for ln in head.lower().split(b"\r\n") if ln.startswith(b"content-length")).split()[1])
        got.append(head + await reader.readexactly(length))
        status = b"503 Busy" if len(got) == 1 else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    urls = tmp_path / "urls"
    urls.write_text(f"# where to\njson://127.0.0.1:{port}/secret-path\n")
    building = Building()
    async with running_sink(tmp_path / "sink", "--apprise-file", str(urls)) as sink:
        async with httpx.AsyncClient(verify=False, headers={"authorization": f"Bearer {sink.key}"}) as http:
            for camera in ("porch", "garage"):
                body = encode(building.alert(1, camera=camera))
                assert (await http.post(f"{sink.url}/v1/alerts", content=body)).status_code == 200
        await eventually(lambda: len(got) == 2)
        assert b"Person at porch" in got[1]
        assert b"photo.jpg" in got[1]
        assert "secret-path" not in sink.log.read_text()
    server.close()
    await server.wait_closed()
    assert len(got) == 2


def test_line_that_is_not_a_url_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("what is this\n")
    with pytest.raises(ConfigError):
        read_others(tmp_path / "urls")


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
async def test_a_full_disk_costs_the_photo_and_not_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    sent: list[object] = []
    (tmp_path / "urls").write_text("json://127.0.0.1:1/\n")
    other = read_others(tmp_path / "urls")[0]
    other._target = SimpleNamespace(notify=lambda **message: sent.append(message["attach"]) or True)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    incident = SimpleNamespace(title="Person", who="", time="now", pictures=["one"])
    books = SimpleNamespace(picture=lambda _: asyncio.sleep(0, b"jpeg"))
    assert await other.show(SimpleNamespace(message=""), incident, books) == "sent"  # type: ignore[arg-type]
    assert sent == [None]
