"""HTTP snapshots: authentication, and cameras that send nonsense, nothing or too much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cameras import CameraBook
from agent.errors import CameraError
from tests.cameras.conftest import picture
from tests.cameras.servers import URL_LOGIN, Snapshots, self_signed, snapshot_server

PICTURE = picture()


@pytest.fixture
def server() -> Iterator[Snapshots]:
    with snapshot_server(PICTURE) as running:
        yield running


@pytest.mark.parametrize("path", ["open", "basic", "digest", "stream", "open?user=u&pwd=s3cret"])
async def test_the_cameras_own_jpeg_comes_through_untouched(path: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/{path}")
    photos = await book.shoot("cam", 2, 0.05)
    assert [(p.jpeg, p.width, p.height) for p in photos] == [(PICTURE, 320, 240)] * 2


@pytest.mark.parametrize("path", ["open", "stream"])
async def test_a_turned_camera_gives_turned_pictures(path: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{server.at}/{path}", rotate=90)
    [photo] = await book.shoot("cam")
    assert (photo.width, photo.height) == (240, 320)


async def test_a_snapshot_may_be_a_png(server: Snapshots, book: CameraBook) -> None:
    server.picture = picture(kind="PNG")
    await book.add("cam", f"http://{server.at}/open")
    [photo] = await book.shoot("cam")
    assert photo.jpeg[:2] == b"\xff\xd8"
    assert (photo.width, photo.height) == (320, 240)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing", "HTTP 404"),
        ("basic", "refuses the user or password"),
        ("digest", "refuses the user or password"),
        ("redirect", "HTTP 302"),
        ("page", "not a picture: not a JPEG"),
        ("cut", "cut off"),
        ("short", "cannot be reached"),
        ("huge", "larger than 16 MiB"),
        ("silent", "in time|within 1 s"),
        ("drip", "within 1 s"),
    ],
)
async def test_errors_are_named_in_time(path: str, says: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://someone:wr0ng@{server.at}/{path}?key=s3cret")
    started = time.monotonic()
    with pytest.raises(CameraError, match=says) as caught:
        await book.shoot("cam", deadline=1.0 if path in ("silent", "drip") else 20.0)
    assert time.monotonic() - started < 15
    assert "wr0ng" not in str(caught.value.to_dict())
    assert "s3cret" not in str(caught.value.to_dict())


async def test_a_snapshot_camera_is_asked_once_for_each_photo(server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{server.at}/open")
    await book.shoot("cam", 3)
    assert len(server.requests) == 3


async def test_a_self_signed_certificate_needs_an_insecure_camera(tmp_path: Path, book: CameraBook) -> None:
    with snapshot_server(PICTURE, self_signed(tmp_path)) as server:
        await book.add("cam", f"https://{server.at}/open")
        with pytest.raises(CameraError, match="cannot be reached"):
            await book.shoot("cam")
        await book.add("cam", f"https://{server.at}/open", insecure=True)
        assert [p.jpeg for p in await book.shoot("cam")] == [PICTURE]
