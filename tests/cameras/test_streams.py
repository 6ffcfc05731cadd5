"""RTSP and MJPEG against real servers, cut off and hanging in mid-stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from agent.cameras import CameraBook, Photo, ShootFailed
from agent.errors import CameraError
from tests.cameras.servers import URL_LOGIN, Server, free_port, mjpeg_server, rtsp_server
from tests.support import eventually

Serve = Callable[[int], AbstractContextManager[Server]]
KINDS = pytest.mark.parametrize(
    ("serve", "address"),
    [(rtsp_server, f"rtsp://{URL_LOGIN}@127.0.0.1:PORT/jpeg"), (mjpeg_server, "http://127.0.0.1:PORT/cam")],
    ids=["rtsp", "mjpeg"],
)
DEADLINE = 4.0
"""Seconds: far above the time of a photo, far below that of a hang."""


def brightness(photo: Photo) -> float:
    return float(np.asarray(Image.open(BytesIO(photo.jpeg)).convert("L")).mean())


@KINDS
async def test_photos_come_at_their_distance(serve: Serve, address: str, book: CameraBook) -> None:
    with serve(port := free_port()):
        await book.add("cam", address.replace("PORT", str(port)))
        photos = await book.shoot("cam", 3, 0.3)
    assert [(p.width, p.height) for p in photos] == [(640, 360)] * 3
    assert all(Image.open(BytesIO(p.jpeg)).size == (640, 360) for p in photos)
    assert photos[1].taken - photos[0].taken >= 0.25
    assert photos[2].taken - photos[0].taken >= 0.55
    assert all(brightness(p) > 20 for p in photos)


@pytest.mark.parametrize("path", ["h264", "dark"])
async def test_rtsp_gives_h264_and_waits_out_dark_first_frames(path: str, book: CameraBook) -> None:
    with rtsp_server(port := free_port()):
        await book.add("cam", f"rtsp://{URL_LOGIN}@127.0.0.1:{port}/{path}")
        [photo] = await book.shoot("cam")
    assert brightness(photo) > 20


@KINDS
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_photos_work_again_after_a_server_died_or_hung(
    serve: Serve, address: str, how: str, book: CameraBook
) -> None:
    port = free_port()
    await book.add("cam", address.replace("PORT", str(port)))
    with serve(port) as server:
        shooting = asyncio.create_task(book.shoot("cam", 30, 0.1, deadline=DEADLINE))
        # The third photo is being waited for: the stream is in full flow.
        await eventually(lambda: book.progress("cam") >= 2)
        getattr(server, how)()
        started = time.monotonic()
        with pytest.raises(ShootFailed) as caught:
            await shooting
        assert time.monotonic() - started < DEADLINE + 2
        assert 2 <= len(caught.value.photos) < 30
        assert "camera cam" in caught.value.message
        assert [info.ok for info in book.infos()] == [False]
    with serve(port):
        assert len(await book.shoot("cam")) == 1
    assert [info.ok for info in book.infos()] == [True]


@KINDS
async def test_a_warm_camera_is_opened_ahead_and_after_a_cut(serve: Serve, address: str, book: CameraBook) -> None:
    port = free_port()
    await book.add("cam", address.replace("PORT", str(port)), warm=True)
    running = asyncio.create_task(book.run())
    try:
        await eventually(lambda: book.error("cam"))
        for _ in range(2):
            with serve(port):
                await eventually(lambda: book.is_open("cam"), 30)
                [photo] = await book.shoot("cam")
                assert (photo.width, photo.height) == (640, 360)
            await eventually(lambda: not book.is_open("cam"))
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@KINDS
async def test_the_error_of_a_camera_names_it_and_hides_the_password(
    serve: Serve, address: str, book: CameraBook, caplog: pytest.LogCaptureFixture
) -> None:
    await book.add("cam", address.replace("PORT", str(free_port())).replace("http://", "http://u:p%40ss@"))
    with pytest.raises(CameraError) as caught:
        await book.shoot("cam", deadline=DEADLINE)
    everything = f"{caught.value.to_dict()} {caplog.text} {book.list()} {book.error('cam')}"
    assert "camera cam: " in everything
    assert "p%40ss" not in everything
    assert "p@ss" not in everything


async def test_a_wrong_password_is_an_error(book: CameraBook) -> None:
    with rtsp_server(port := free_port()):
        await book.add("cam", f"rtsp://viewer:wrong@127.0.0.1:{port}/jpeg")
        with pytest.raises(CameraError):
            await book.shoot("cam", deadline=DEADLINE)


@KINDS
async def test_two_at_once_share_the_one_connection(serve: Serve, address: str, book: CameraBook) -> None:
    with serve(port := free_port()):  # ffmpeg takes one client only
        await book.add("cam", address.replace("PORT", str(port)))
        results = await asyncio.gather(*(book.shoot("cam", 2, 0.1) for _ in range(3)))
    assert [len(photos) for photos in results] == [2, 2, 2]
