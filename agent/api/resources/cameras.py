"""Cameras of this node."""

from __future__ import annotations

import asyncio
import time

import msgspec

from agent.api import results
from agent.api.requests import AddCamera
from agent.api.resources.photo_steps import PhotoSteps
from agent.cameras import CameraBook
from agent.mesh import Mesh


class Cameras:
    """The book of cameras; other nodes hear of each change."""

    def __init__(self, book: CameraBook, mesh: Mesh, steps: PhotoSteps) -> None:
        self._book, self._mesh, self._steps = book, mesh, steps

    def states(self) -> list[results.CameraState]:
        """The cameras of all live nodes; errors are known for cameras of this node only."""
        return [
            results.CameraState(
                n.name,
                c.name,
                c.kind,
                c.ok,
                self._book.error(c.name) if n.id == self._mesh.me.id else "",
                c.worked,
            )
            for n in self._mesh.live()
            for c in n.cameras
        ]

    async def all(self) -> list[results.Camera]:
        """The cameras of the book by name, then connected devices that are not in it."""
        node, infos = self._mesh.me.name, {c.name: c for c in self._book.infos()}
        made = [
            results.Camera(
                node, name, c.kind, c.shown, infos[name].ok, True, self._book.error(name), infos[name].worked
            )
            for name, c in sorted(self._book.list().items())
        ]
        for device in await asyncio.to_thread(self._book.probe):
            made.append(results.Camera(node, "", "v4l2", device.source, True, False, device.text))
        return made

    async def add(self, asked: AddCamera) -> results.Camera:
        """Write a camera into the book; raises ConfigError, also where there is one of this name and `replace` is false."""
        await self._book.add(**msgspec.to_builtins(asked))
        self._mesh.announce(cameras=self._book.infos())
        return next(c for c in await self.all() if c.name == asked.name)

    async def remove(self, name: str) -> results.Name:
        """Take a camera out of the book; raises NotFound."""
        await self._book.remove(name)
        self._mesh.announce(cameras=self._book.infos())
        return results.Name(name)

    async def test(self, name: str) -> results.CameraTest:
        """Take one photo, and give it to the WASM steps behind the camera; raises NotFound, CameraError."""
        camera, start = self._book.get(name), time.perf_counter()
        try:
            photo = await self._book.test(name)
        finally:
            self._mesh.announce(cameras=self._book.infos())
        took = round((time.perf_counter() - start) * 1e3, 1)
        passed = await self._steps.pass_on(name, camera, photo)
        return results.CameraTest(name, True, photo.width, photo.height, len(photo.jpeg), took, photo.jpeg, passed)
