"""Docker programs: one warm container per step and node, without a network, fed over its stdin."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import EdgeError, Refused, Unreachable
from agent.executors.docker.client import Engine
from agent.executors.docker.container import OWNER_LABEL, Container, open_container, remove_container
from agent.executors.folders import clear_leftovers
from agent.executors.warm import WarmProgram, WarmRunner
from agent.model.task import BlobWriter, DockerTask, Runner

logger = logging.getLogger(__name__)

NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""There on every machine with NVIDIA's driver loaded."""


class DockerExecutor:
    """The node's Docker engine; it may come and go while the agent runs.

    `owner` marks this agent's containers (its node id). `scratch` holds their folders. `allowed`, `max_cpus` and
    `max_memory` (bytes) are the owner's policy. `host` is a `unix://` or `tcp://` address; empty takes
    DOCKER_HOST, else the usual socket.
    """

    def __init__(
        self,
        owner: str,
        scratch: Path,
        *,
        host: str = "",
        allowed: bool = True,
        max_cpus: float = 0.0,
        max_memory: int = 0,
    ) -> None:
        self.owner = owner
        self.available = False
        self.version = ""
        """Of the engine; empty while there is none."""
        self.reason = "not looked for yet"
        self.allowed = allowed
        self.max_cpus = max_cpus
        self.max_memory = max_memory
        self._scratch = scratch
        self._engine = Engine(host)
        self._live: set[str] = set()
        self._looking = asyncio.Lock()
        self._opening = 0
        self._unswept = True
        """Containers may be left behind: this life is new, or the engine was away."""

    async def start(self) -> None:
        """Look for the engine and remove what an earlier life of this agent left; an absent engine is no error."""
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
                facts = await self._engine.call(lambda client: client.version())
                if self._unswept and not self._opening:  # one that is just being made is not in `_live` yet
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
        """Kill and remove this owner's containers that no runner of ours holds; returns how many.

        What the engine refuses is logged; raises Unreachable.
        """

        def work(client: Any) -> list[Any]:
            mine = {"label": f"{OWNER_LABEL}={self.owner}"}
            # Sparse: the engine may be unable to describe a container that it is removing.
            return [c for c in client.containers.list(all=True, sparse=True, filters=mine) if c.id not in self._live]

        try:
            stale = await self._engine.call(work)
        except Unreachable:
            raise
        except EdgeError as e:
            logger.warning("containers of an earlier life are left behind: %s", e.message)
            return 0
        count = 0
        for container in stale:
            count += await remove_container(self._engine, container)
        if count:
            logger.info("removed %d containers of an earlier life", count)
        return count

    async def image_id(self, name: str) -> str:
        """The id (`sha256:…`) of an image that is on this node; raises NotFound, Unreachable."""
        return str(await self._engine.call(lambda client: client.images.get(name).id))

    async def gpu(self) -> bool:
        """Whether a container can have this node's GPU, found by really starting one."""
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
                # No image has such a program: where that is the complaint, the devices were granted before it.
                return "nvidia-probe" in str(e)
            finally:
                container.remove(force=True)
            return True

        self._opening += 1
        try:
            return await self._engine.call(work)
        except EdgeError as e:
            logger.info("no GPU for containers: %s", e.message)
            return False
        finally:
            self._opening -= 1

    def runner(self, task: DockerTask, blobs: BlobWriter, name: str) -> Runner:
        """A step's warm container; `name` is shown in its labels."""
        return _DockerRunner(self, task, blobs, name)

    async def open(self, task: DockerTask, name: str) -> Container:
        """Start a container within the owner's policy; raises Refused, NotFound, Unreachable or StepFailed."""
        task = self._within_policy(task)
        if self._unswept:
            await self.check()
        folder = self._scratch / os.urandom(8).hex()
        self._opening += 1
        try:
            container = await open_container(self._engine, task, folder, self.owner, name)
            self._live.add(container.id)
        except Unreachable as e:
            self._away(e)
            raise
        finally:
            self._opening -= 1
        self.available, self.reason = True, ""
        return container

    def forget(self, container: Container) -> None:
        """A runner has closed its container."""
        self._live.discard(container.id)

    async def close(self) -> None:
        """End the engine's threads; runners are closed before."""
        await asyncio.to_thread(self._engine.close)

    def _within_policy(self, task: DockerTask) -> DockerTask:
        """The task with no more CPU than this node gives, which only makes it slower; raises Refused for the rest."""
        limits = task.limits
        if not self.allowed:
            raise Refused("this node runs no containers", code="policy.docker", hint="set policy.docker on this node")
        if self.max_memory and limits.memory > self.max_memory:
            raise Refused(
                f"the step wants {limits.memory} bytes of memory, this node gives {self.max_memory} (policy.memory)",
                code="policy.memory",
                hint="lower limits.memory of the step or raise policy.memory on this node",
            )
        if self.max_cpus and limits.cpus > self.max_cpus:
            return msgspec.structs.replace(task, limits=msgspec.structs.replace(limits, cpus=self.max_cpus))
        return task


class _DockerRunner(WarmRunner):
    def __init__(self, engine: DockerExecutor, task: DockerTask, blobs: BlobWriter, name: str) -> None:
        super().__init__(name, task.limits, blobs)
        self._engine = engine
        self._task = task

    async def _open(self) -> WarmProgram:
        return await self._engine.open(self._task, self._name)

    async def _end(self, program: WarmProgram) -> None:
        await super()._end(program)
        if isinstance(program, Container):
            self._engine.forget(program)
