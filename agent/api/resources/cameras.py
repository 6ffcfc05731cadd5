"""Cameras of this node."""

from __future__ import annotations

import asyncio
import time

import msgspec

from agent.api import results
from agent.api.requests import AddCamera
from agent.cameras import CameraBook, masked
from agent.mesh import Mesh


class Cameras:
    """The book of cameras; other nodes hear of each change."""

    def __init__(self, book: CameraBook, mesh: Mesh) -> None:
        self._book, self._mesh = book, mesh

    def states(self) -> list[results.CameraState]:
        """The cameras of all live nodes; errors are known for cameras of this node only."""
        return [
            results.CameraState(
                n.name, c.name, c.kind, c.ok, self._book.error(c.name) if n.id == self._mesh.me.id else ""
            )
            for n in self._mesh.live()
            for c in n.cameras
        ]

    async def all(self) -> list[results.Camera]:
        """The cameras of the book by name, then connected devices that are not in it."""
        node, ok = self._mesh.me.name, {c.name: c.ok for c in self._book.infos()}
        made = [
            results.Camera(node, name, c.kind, masked(c.source), ok.get(name, True), True, self._book.error(name))
            for name, c in sorted(self._book.list().items())
        ]
        for device in await asyncio.to_thread(self._book.probe):
            made.append(results.Camera(node, "", "v4l2", device.source, True, False, device.text))
        return made

    async def add(self, asked: AddCamera) -> results.Camera:
        """Write a camera into the book; raises ConfigError."""
        await self._book.add(**msgspec.to_builtins(asked))
        self._mesh.announce(cameras=self._book.infos())
        return next(c for c in await self.all() if c.name == asked.name)

    async def remove(self, name: str) -> results.Name:
        """Take a camera out of the book; raises NotFound."""
        await self._book.remove(name)
        self._mesh.announce(cameras=self._book.infos())
        return results.Name(name)

    async def test(self, name: str) -> results.CameraTest:
        """Take one photo; raises NotFound, CameraError."""
        start = time.perf_counter()
        photo = await self._book.test(name)
        took = round((time.perf_counter() - start) * 1e3, 1)
        return results.CameraTest(name, True, photo.width, photo.height, len(photo.jpeg), took, photo.jpeg)
