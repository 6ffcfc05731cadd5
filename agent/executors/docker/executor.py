"""Docker programs: containers without a network, warm or one for each event."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.errors import EdgeError, NotFound, Unreachable
from agent.executors.contract import BLOBS, INPUTS, broken
from agent.executors.docker.api import DockerApi, NoImage
from agent.executors.docker.container import (
    OWNER_LABEL,
    Container,
    adopt_container,
    open_container,
    remove_container,
    user_of_containers,
)
from agent.executors.docker.images import Images
from agent.executors.folders import Folders
from agent.executors.kept import Kept
from agent.executors.program import Listener
from agent.executors.record import Handle
from agent.model.task import DockerTask
from agent.threads import finished

logger = logging.getLogger(__name__)

NVIDIA_DEVICE = Path("/dev/nvidiactl")
"""Exists on every machine with NVIDIA's driver loaded."""


class DockerExecutor:
    """The node's Docker engine; it may come and go while the agent runs.

    `owner` marks this agent's containers (its node id). `scratch` holds their folders. `host` is a `unix://` or
    `tcp://` address; empty takes DOCKER_HOST, else the standard socket.
    """

    def __init__(self, owner: str, scratch: Path, *, host: str = "") -> None:
        self.owner = owner
        self.available = False
        self.version = ""
        """The engine's version; empty without an engine."""
        self.reason = "not looked for yet"
        self._scratch = scratch
        self._kept = Kept(scratch)
        self._api = DockerApi(host)
        self.images = Images(host)
        self._live: set[str] = set()
        self._looking = asyncio.Lock()
        self._opening = 0
        self.left = 0
        """Containers that the last sweep could not remove."""
        self._unswept = True
        """Whether containers may be left behind: the agent has just started, or the engine was away."""

    async def start(self) -> None:
        """Look for the engine and remove containers of the previous run of this agent; an absent engine is no error.

        Those of `once` programs stay until `give_up_left`, so that they can be adopted.
        """
        await self.check()
        # A container that still runs would go on writing there.
        await asyncio.to_thread(self._kept.clear)

    async def check(self) -> bool:
        """Whether the engine answers now; sets `available`, `version` and `reason`, and sweeps an engine that was not there.

        Concurrent callers share one check.
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
        """Kill and remove this owner's containers that no runner holds or may adopt; returns how many.

        A refusal of the engine is logged; raises Unreachable.
        """

        def work(client: Any) -> list[Any]:
            mine = {"label": f"{OWNER_LABEL}={self.owner}"}
            # Sparse: the engine may be unable to describe a container that it is removing.
            return [c for c in client.containers.list(all=True, sparse=True, filters=mine) if c.id not in held]

        held = self._live | self._kept.containers
        try:
            stale = await self._api.call(work)
        except Unreachable:
            raise
        except EdgeError as e:
            logger.warning("containers of the previous run could not be removed: %s", e.message)
            return 0
        count = 0
        for container in stale:
            count += await remove_container(self._api, container)
        self.left = len(stale) - count
        if count:
            logger.info("removed %d containers of the previous run", count)
        return count

    async def image_id(self, name: str) -> str:
        """The id (`sha256:…`) of an image that is on this node; raises NotFound, Unreachable."""
        try:
            return str(await self._api.call(lambda client: client.images.get(name).id))
        except Unreachable as e:
            self._away(e)
            raise

    async def gpu(self) -> bool:
        """Whether a container can have this node's GPU: starts one to find out."""
        if not NVIDIA_DEVICE.exists() or not await self.check():
            return False
        try:
            images = await self._api.call(lambda client: client.images.list())
            if images:
                await self.check_gpus(images[0].id, 1)
        except EdgeError as e:
            logger.info("no GPU for containers: %s", e.message)
            return False
        return bool(images)

    async def check_gpus(self, image: str, count: int) -> None:
        """Start a container of the image to find out whether it gets so many GPUs; raises StepFailed, Unreachable."""

        def work(client: Any) -> None:
            import docker.types

            container = client.containers.create(
                image,
                entrypoint=["/nvidia-probe"],
                network_mode="none",
                labels={OWNER_LABEL: self.owner},
                device_requests=[docker.types.DeviceRequest(count=count, capabilities=[["gpu"]])],
            )
            try:
                container.start()
            except docker.errors.APIError as e:
                # No image has such a program: an error about the program comes after the devices were granted.
                if "nvidia-probe" not in str(e):
                    raise
            finally:
                container.remove(force=True)

        self._opening += 1
        try:
            await self._api.call(work)
        finally:
            self._opening -= 1

    def launcher(self, task: DockerTask, name: str) -> DockerLauncher:
        """Starts the task's program; `name` is shown in the labels of its containers."""
        return DockerLauncher(self, task, name)

    def folders(self, once: str = "") -> Folders:
        """Folders for a container, not made yet: those with the name `once` of a `once` program, or new folders."""
        owner = user_of_containers() if os.geteuid() == 0 else None
        return Folders.of(self._scratch, once, shared=True, owner=owner)

    async def open(self, task: DockerTask, name: str, folders: Folders, listener: Listener, *, once: bool) -> Container:
        """Start a container; raises NotFound, Unreachable or StepFailed."""
        if self._unswept:
            await self.check()
        self._opening += 1
        opening = asyncio.create_task(
            open_container(self._api, task, folders, self.owner, name, listener, self._live.discard, once=once)
        )
        try:
            made = await asyncio.shield(opening)
            self._live.add(made.id)
        except asyncio.CancelledError:  # the engine carries out the call that is under way
            await finished(_undo(opening))
            raise
        except Unreachable as e:
            self._away(e)
            raise
        finally:
            self._opening -= 1
        self.available, self.reason = True, ""
        return made

    async def adopt(self, folders: Folders, listener: Listener) -> Container | None:
        """The container with these folders that the previous run of the agent left; None if it left no such container.

        Raises Unreachable.
        """
        name = folders.root.name
        handle = await self._kept.take(name)
        if handle is None:
            return None
        self._live.add(handle.container)
        adopted = None
        try:
            adopted = await adopt_container(self._api, handle, self.owner, listener, self._live.discard)
        except BaseException as e:
            self._kept.put_back(name, handle)
            if isinstance(e, Unreachable):
                self._away(e)
            raise
        finally:
            if adopted is None:
                self._live.discard(handle.container)
        return adopted

    async def give_up_left(self) -> None:
        """Remove the containers of `once` programs of the previous run that nothing has adopted."""

        async def end(handle: Handle) -> None:
            with suppress(EdgeError):  # without an engine the next sweep removes it
                container = await self._api.call(lambda client: client.containers.get(handle.container))
                if container.labels.get(OWNER_LABEL) == self.owner:
                    await remove_container(self._api, container)

        await self._kept.give_up(end)

    async def close(self) -> None:
        """Remove what nothing has adopted, and end the threads; runners must be closed before."""
        await self.give_up_left()
        await asyncio.to_thread(self.images.close)
        await asyncio.to_thread(self._api.close)


async def _undo(opening: asyncio.Task[Container]) -> None:
    """Close the container that is being opened, when it is there."""
    await asyncio.wait({opening})
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().close()


class DockerLauncher:
    """A Launcher."""

    kind = "docker"

    def __init__(self, executor: DockerExecutor, task: DockerTask, name: str) -> None:
        self._executor = executor
        self._task = task
        self._name = name

    async def check(self) -> None:
        """See Launcher."""
        try:
            await self._executor.image_id(self._task.image)
            if self._task.gpus:
                await self._executor.check_gpus(self._task.image, self._task.gpus)
        except NoImage as e:
            raise self._missing(e) from None

    def _missing(self, error: NoImage) -> NotFound:
        return NotFound(f"the image {self._task.shown} is not on this node", hint=error.hint)

    def folders(self, once: str = "") -> Folders:
        """See Launcher."""
        return self._executor.folders(once)

    def seen_at(self, path: Path) -> str:
        """See Launcher."""
        return INPUTS if path.name == "inputs" else BLOBS

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> Container:
        """See Launcher."""
        try:
            return await self._executor.open(self._task, self._name, folders, listener, once=once)
        except NoImage as e:
            raise self._missing(e) from None
        except NotFound as e:
            text, hint = f"the container was removed before its start: {e.message}", e.hint
            raise broken(text, code="docker.refused", hint=hint) from e

    async def adopt(self, folders: Folders, listener: Listener) -> Container | None:
        """See Launcher."""
        return await self._executor.adopt(folders, listener)
