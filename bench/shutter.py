"""From the log line to the shutter: with open (warm) cameras and with cameras that must be opened first (cold).

There are two agents: the access point's agent reads the line, the other agent has the camera. The shutter is the time at
which the camera's frame was grabbed (the capture's own clock, `taken`); the benchmark can read it because the camera's
agent runs in this process. Warm: a file camera, and an open RTSP camera with 25 frames a second. Cold: the RTSP camera,
opened for each arrival.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agent.api.requests import Source
from bench.agents import ROOT
from bench.figure import Figure, Missing, spread
from bench.pair import Pair, pair
from demo import phone
from tests.cameras.servers import URL_LOGIN, free_port, rtsp_server

PIPELINE = """\
version: 1
name: bench
steps:
  wifi:
    tail: LOG
    where: far=true
    wasm: {module: ROOT/build/filters/wifi-join.wasm}
    emit: [wifi.client.joined]
  arrived: {after: wifi, presence: {away: 30m, learn: 0}}
  photos: {after: arrived, where: camera=true, camera: {shots: 1}}
"""
PAUSE = 0.4


class Shutter:
    """Records the times at which frames are taken."""

    def __init__(self, made: Pair) -> None:
        self.made = made
        self.log = made.others.folder / "messages"
        self._taken: asyncio.Queue[float] = asyncio.Queue()
        book = made.near.programs.cameras
        shoot = book.shoot

        async def watched(name: str, shots: int, every: float, taken: Any) -> None:
            async def note(photo: Any) -> None:
                self._taken.put_nowait(photo.taken)
                await taken(photo)

            await shoot(name, shots, every, taken=note)

        book.shoot = watched  # type: ignore[assignment]

    async def prepare(self) -> None:
        """Apply the pipeline and wait until lines come through."""
        self.log.write_text(phone.boot())
        text = PIPELINE.replace("ROOT", str(ROOT)).replace("LOG", str(self.log))
        names = await self.made.near.api.pipelines.files(Source(text=text, file="bench.yaml"))
        files = {name: (ROOT / name.removeprefix(f"{ROOT}/")).read_bytes() for name in names}
        await self.made.near.api.pipelines.apply(Source(text=text, file="bench.yaml", files=files))
        await asyncio.to_thread(self.made.others.applied)

    async def camera(self, source: str, *, warm: bool) -> None:
        """Use only this camera, and wait until a photo was taken with it."""
        book = self.made.near.programs.cameras
        await book.add("cam", source, warm=warm, replace=True)
        async with asyncio.timeout(60):
            while "camera" not in self.made.near.mesh.me.labels:
                await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while self._taken.empty():
                phone.append(self.log, phone.joins(phone.new_mac()))
                await asyncio.sleep(1.0)

    async def times(self, count: int) -> list[float]:
        """Milliseconds from the line to the frame, for each arrival."""
        await asyncio.sleep(3.0)
        while not self._taken.empty():
            self._taken.get_nowait()
        found: list[float] = []
        for _ in range(count):
            text = phone.joins(phone.new_mac())
            began = time.monotonic()
            phone.append(self.log, text)
            async with asyncio.timeout(20):
                found.append((await self._taken.get() - began) * 1e3)
            await asyncio.sleep(PAUSE)
        return found


async def _measure(count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with pair() as made:
        shutter = Shutter(made)
        await shutter.prepare()
        await shutter.camera(f"file:{ROOT / 'build/scenes/porch'}", warm=True)
        found["file camera"] = await shutter.times(count)
        port = free_port()
        with rtsp_server(port):
            source = f"rtsp://{URL_LOGIN}@127.0.0.1:{port}/jpeg"
            await shutter.camera(source, warm=True)
            found["RTSP camera, warm"] = await shutter.times(count)
            await shutter.camera(source, warm=False)
            found["RTSP camera, cold"] = await shutter.times(max(5, count // 4))
    return found


def measure(*, quick: bool = False) -> list[Figure | Missing]:
    """Warm and cold, medians."""
    found = asyncio.run(_measure(10 if quick else 40))
    details = {name: spread(times) for name, times in found.items()}
    return [
        Figure(
            name="shutter-warm",
            what="log line → shutter, warm camera (RTSP, 25 frames/s), p50",
            figure=details["RTSP camera, warm"]["p50"],
            goal=40.0,
            unit="ms",
            sense="at most",
            bound_by=(
                "the wait for the camera's next frame, up to 40 ms. With a file camera, which always has a frame, it "
                "takes 20 ms"
            ),
            details=details,
        ),
        Figure(
            name="shutter-cold",
            what="log line → shutter, cold camera (RTSP), p50",
            figure=details["RTSP camera, cold"]["p50"],
            goal=500.0,
            unit="ms",
            sense="at most",
            bound_by="not profiled",
            details=details,
        ),
    ]
