"""The executors of this node as the pipelines ask for them, within the owner's policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.cameras import CameraBook, ShootFailed
from agent.config.schema import PolicyConfig
from agent.errors import Refused
from agent.executors import DockerExecutor, ProcessExecutor, WasmExecutor
from agent.model.task import BlobWriter, DockerTask, ProcessTask, Runner, WasmTask


class NodeEngines:
    """Makes runners, or refuses naming the rule."""

    def __init__(
        self,
        wasm: WasmExecutor,
        docker: DockerExecutor,
        process: ProcessExecutor,
        policy: PolicyConfig,
        blobs: BlobWriter,
    ) -> None:
        self._wasm, self._docker, self._process = wasm, docker, process
        self._policy, self._blobs = policy, blobs

    def wasm(self, module: Path, task: WasmTask) -> Runner:
        """A WASM step."""
        if not self._policy.wasm:
            raise Refused("this node runs no WASM", code="policy.wasm", hint="set policy.wasm on this node")
        return self._wasm.runner(module, task, self._blobs)

    def docker(self, task: DockerTask, name: str) -> Runner:
        """A container step."""
        return self._docker.runner(task, self._blobs, name)

    def process(self, task: ProcessTask) -> Runner:
        """A step that is an executable of this host."""
        return self._process.runner(task, self._blobs, self._policy.process)


class BookCameras:
    """The camera book as the camera step sees it."""

    def __init__(self, book: CameraBook) -> None:
        self._book = book

    def names(self) -> list[str]:
        """All cameras of this node."""
        return sorted(self._book.list())

    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Awaitable[None]]) -> None:
        """Photos, each given to `taken` at once; raises CameraError when the camera gave none."""
        try:
            await self._book.shoot(name, shots, every, taken=taken)
        except ShootFailed as e:
            if not e.photos:
                raise
