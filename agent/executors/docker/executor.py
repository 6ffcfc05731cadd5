"""Docker programs: one warm container per step and node, without a network, fed over its stdin."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from agent.errors import EdgeError, Unreachable
from agent.executors.docker.api import DockerApi
from agent.executors.docker.container import OWNER_LABEL, Container, open_container, remove_container
from agent.executors.folders import clear_leftovers
from agent.executors.warm import WarmProgram, WarmRunner
from agent.model.task import BlobWriter, DockerTask, Runner

logger = logging.getLogger(__name__)

NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""Exists on every machine with NVIDIA's driver loaded."""


class DockerExecutor:
    """The node's Docker engine; it may come and go while the agent runs.

    `owner` marks this agent's containers (its node id). `scratch` holds their folders. `host` is a `unix://` or
    `tcp://` address; empty takes DOCKER_HOST, else the usual socket.
    """

    def __init__(self, owner: str, scratch: Path, *, host: str = "") -> None:
        self.owner = owner
        self.available = False
        self.version = ""
        """The engine's version; empty without an engine."""
        self.reason = "not looked for yet"
        self._scratch = scratch
        self._api = DockerApi(host)
        self._live: set[str] = set()
        self._looking = asyncio.Lock()
        self._opening = 0
        self._unswept = True
        """Whether containers may be left behind: the agent has just started, or the engine was away."""

    async def start(self) -> None:
        """Look for the engine and remove containers of an earlier run of this agent; an absent engine is no error."""
        await self.check()
        # A container that still runs would go on writing there.
        await asyncio.to_thread(clear_leftovers, self._scratch)

    async def check(self) -> bool:
        """Whether the engine answers now; sets `available`, `version` and `reason`, and sweeps an engine that was not there.

        A call that comes while another looks takes its result.
        """
        if self._looking.locked():
            async with self._looking:
                return self.available
        async with self._looking:
            try:
                facts = await self._api.call(lambda client: client.version())
                if self._unswept and not self._opening:  # a container that is being made is not in `_live` yet
                    await self.sweep()
                    self._unswept = False
            except EdgeError as e:
                self._away(e)
            else:
                self.available, self.version, self.reason = True, str(facts.get("Version", "")), ""
        return self.available

    def _away(self, error: EdgeError) -> None:
        self.available, self.version, self.reason, self._unswept = False, "", error.message, True

    async def sweep(self) -> int:
        """Kill and remove this owner's containers that no runner holds; returns how many.

        A refusal of the engine is logged; raises Unreachable.
        """

        def work(client: Any) -> list[Any]:
            mine = {"label": f"{OWNER_LABEL}={self.owner}"}
            # Sparse: the engine may be unable to describe a container that it is removing.
            return [c for c in client.containers.list(all=True, sparse=True, filters=mine) if c.id not in self._live]

        try:
            stale = await self._api.call(work)
        except Unreachable:
            raise
        except EdgeError as e:
            logger.warning("containers of an earlier run are left behind: %s", e.message)
            return 0
        count = 0
        for container in stale:
            count += await remove_container(self._api, container)
        if count:
            logger.info("removed %d containers of an earlier run", count)
        return count

    async def image_id(self, name: str) -> str:
        """The id (`sha256:…`) of an image that is on this node; raises NotFound, Unreachable."""
        return str(await self._api.call(lambda client: client.images.get(name).id))

    async def gpu(self) -> bool:
        """Whether a container can have this node's GPU: starts one to find out."""
        if not NVIDIA_DEVICE.exists() or not await self.check():
            return False

        def work(client: Any) -> bool:
            import docker.types

            images = client.images.list()
            if not images:
                return False
            container = client.containers.create(
                images[0].id,
                entrypoint=["/nvidia-probe"],
                network_mode="none",
                labels={OWNER_LABEL: self.owner},
                device_requests=[docker.types.DeviceRequest(count=1, capabilities=[["gpu"]])],
            )
            try:
                container.start()
            except docker.errors.APIError as e:
                # No image has such a program: an error about the program comes after the devices were granted.
                return "nvidia-probe" in str(e)
            finally:
                container.remove(force=True)
            return True

        self._opening += 1
        try:
            return await self._api.call(work)
        except EdgeError as e:
            logger.info("no GPU for containers: %s", e.message)
            return False
        finally:
            self._opening -= 1

    def runner(self, task: DockerTask, blobs: BlobWriter, name: str) -> Runner:
        """A step's warm container, not yet started; `name` is shown in its labels."""
        return _DockerRunner(self, task, blobs, name)

    async def open(self, task: DockerTask, name: str) -> Container:
        """Start a container; raises NotFound, Unreachable or StepFailed."""
        if self._unswept:
            await self.check()
        folder = self._scratch / os.urandom(8).hex()
        self._opening += 1
        try:
            container = await open_container(self._api, task, folder, self.owner, name)
            self._live.add(container.id)
        except Unreachable as e:
            self._away(e)
            raise
        finally:
            self._opening -= 1
        self.available, self.reason = True, ""
        return container

    def forget(self, container: Container) -> None:
        """Note that a runner has closed its container."""
        self._live.discard(container.id)

    async def close(self) -> None:
        """End the threads; runners must be closed before."""
        await asyncio.to_thread(self._api.close)


class _DockerRunner(WarmRunner):
    def __init__(self, executor: DockerExecutor, task: DockerTask, blobs: BlobWriter, name: str) -> None:
        super().__init__(name, task.limits, blobs)
        self._executor = executor
        self._task = task

    async def _open(self) -> WarmProgram:
        return await self._executor.open(self._task, self._name)

    async def _end(self, program: WarmProgram) -> None:
        await super()._end(program)
        if isinstance(program, Container):
            self._executor.forget(program)
