"""Capture workers: killed when they hang, ended with the agent, and OpenCV never loaded into the agent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from agent.cameras import CameraBook
from agent.errors import CameraError
from tests.cameras.servers import make_video
from tests.support import eventually


@pytest.fixture
async def tarpit() -> AsyncIterator[int]:
    """A port that accepts connections and sends nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()
    await server.wait_closed()


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if any("cameras.worker" in part for part in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
async def test_a_silent_camera_is_an_error_at_its_deadline(scheme: str, tarpit: int, book: CameraBook) -> None:
    await book.add("cam", f"{scheme}://127.0.0.1:{tarpit}/live")
    started = time.monotonic()
    with pytest.raises(CameraError, match=r"within 1\.5 s|in time"):
        await book.shoot("cam", deadline=1.5)
    assert time.monotonic() - started < 6
    assert workers_of(os.getpid()) == []


async def test_a_hanging_camera_does_not_hold_up_another_one(tarpit: int, book: CameraBook, pictures: Path) -> None:
    await book.add("stuck", f"rtsp://127.0.0.1:{tarpit}/live")
    await book.add("fine", f"file:{pictures}")
    stuck = asyncio.create_task(book.shoot("stuck", deadline=5.0))
    await asyncio.sleep(0)
    assert len(await book.shoot("fine", 3)) == 3
    assert not stuck.done()
    await book.close()
    with pytest.raises(CameraError):
        await stuck


async def test_cancelling_a_photo_lets_go_of_the_camera(tarpit: int, book: CameraBook) -> None:
    await book.add("cam", f"rtsp://127.0.0.1:{tarpit}/live")
    shooting = asyncio.create_task(book.shoot("cam"))
    await eventually(lambda: workers_of(os.getpid()))
    shooting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await shooting
    assert workers_of(os.getpid()) == []


async def test_the_photo_after_a_killed_worker_has_a_new_worker(tmp_path: Path, book: CameraBook) -> None:
    make_video(tmp_path / "film.mp4")
    await book.add("cam", f"file:{tmp_path}/film.mp4", warm=True)
    await book.shoot("cam")
    [child] = workers_of(os.getpid())
    shooting = asyncio.create_task(book.shoot("cam", 2, 0.3))
    await eventually(lambda: book.progress("cam") == 2)
    child.kill()
    assert len(await shooting) == 2
    [other] = workers_of(os.getpid())
    assert other.pid != child.pid


AGENT = """
import asyncio, sys
from pathlib import Path
from agent.cameras import CameraBook

async def main():
    book = CameraBook(Path(sys.argv[1]))
    await book.add("cam", sys.argv[2], warm=True)
    await book.shoot("cam")
    print("cv2" in sys.modules, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_workers_end_with_the_agent_which_never_loads_opencv(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4")
    command = [sys.executable, "-c", AGENT, str(tmp_path / "book.yaml"), f"file:{tmp_path}/film.mp4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "False\n"
        [child] = workers_of(agent.pid)
        agent.send_signal(signal.SIGKILL)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
