"""One warm container: isolated, attached before it starts, watched, killed and removed at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.errors import EdgeError, NotFound, Unreachable
from agent.executors.contract import BLOBS, OUTPUTS
from agent.executors.dialogue import Dialogue
from agent.executors.docker.api import DockerApi, attach
from agent.executors.docker.frames import STDOUT, frames
from agent.executors.folders import Folders, outputs_failure
from agent.model.task import DockerTask, Limits, LogSink
from agent.threads import in_thread

logger = logging.getLogger(__name__)

OWNER_LABEL = "edge-agent.owner"
"""Label with the owner: the node id of the agent that made the container."""
STEP_LABEL = "edge-agent.step"
NOBODY = 65534
"""The user in the container where the agent is root; otherwise it is the agent's, so that it can read the outputs."""
DESCRIPTORS = 256
TMP = 64 << 20
"""Size in bytes of the container's /tmp, and of each volume of its image; they count against its memory."""
LOOK = 0.1
IDLE_LOOK = 1.0
"""Seconds between looks at the size of the outputs folder, while an event is open and otherwise."""
SOCKET_BUFFER = 1 << 20


class Container:
    """A running container and its dialogue. Made by `open_container`."""

    def __init__(
        self, api: DockerApi, raw: Any, folders: Folders, dialogue: Dialogue, writer: asyncio.StreamWriter
    ) -> None:
        self.id: str = raw.id
        self.folders = folders
        self.dialogue = dialogue
        self._api = api
        self._raw = raw
        self._writer = writer
        self._tasks: list[asyncio.Task[None]] = []
        self.busy = asyncio.Event()

    def begin(self, reader: asyncio.StreamReader, limits: Limits) -> None:
        """Start following its output and its folder."""
        self._tasks = [
            asyncio.create_task(self._follow(reader), name=f"container {self.id[:12]} output"),
            asyncio.create_task(self._watch(limits), name=f"container {self.id[:12]} folder"),
        ]

    async def ask(self, line: bytes, seconds: float, log: LogSink) -> bytes:
        """See Dialogue.ask."""
        self.busy.set()
        try:
            return await self.dialogue.ask(line, seconds, log)
        finally:
            self.busy.clear()

    async def close(self) -> None:
        """Kill and remove it with its folders; without an engine, the next sweep removes it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
        await _let_go(self._api, self._raw)
        await in_thread(self.folders.remove)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        async for stream, data in frames(reader):
            (self.dialogue.stdout if stream == STDOUT else self.dialogue.stderr)(data)
            if self.dialogue.broken:
                break
        if self.dialogue.broken is None:
            self.dialogue.ended(await self._cause())

    async def _cause(self) -> str:
        """The reason in words why the container's output ended."""
        try:
            await self._api.call(lambda _: self._raw.reload())
        except EdgeError as e:
            return f"the container is gone: {e.message}"
        state = self._raw.attrs.get("State", {})
        if state.get("OOMKilled"):
            return "the container was killed: it wanted more memory than its limit"
        if state.get("Running"):
            return "the container closed its stdout"
        return f"the container exited with {state.get('ExitCode')}"

    async def _watch(self, limits: Limits) -> None:
        while not (overrun := await asyncio.to_thread(self.folders.overrun, limits)):
            if self.busy.is_set():
                await asyncio.sleep(LOOK)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_LOOK):
                        await self.busy.wait()
        self.dialogue.fail(outputs_failure(overrun))
        await self.kill()

    async def kill(self) -> None:
        """End the program now; a call of `close` must follow."""
        try:
            await self._api.call(lambda _: self._raw.kill())
        except EdgeError as e:
            logger.info("container %s was not there to be killed: %s", self.id[:12], e.message)


async def open_container(api: DockerApi, task: DockerTask, folder: Path, owner: str, name: str) -> Container:
    """Make, attach and start a container; raises Unreachable, NotFound or StepFailed and leaves nothing behind."""
    user = NOBODY if os.geteuid() == 0 else None
    folders = Folders(folder, shared=True, owner=user)
    raw: Any = None
    link: socket.socket | None = None
    writer: asyncio.StreamWriter | None = None
    try:
        await in_thread(folders.make)
        raw = await api.call(lambda client: _create(client, task, folders, owner, name))
        link = await api.call(lambda _: attach(raw))
        link.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=link, limit=SOCKET_BUFFER)
        link = None
        await api.call(lambda _: raw.start())
    except BaseException:
        if link is not None:
            link.close()
        if writer is not None:
            writer.transport.abort()
        await asyncio.shield(_discard(api, raw, folders))
        raise
    container = Container(api, raw, folders, Dialogue(writer, task.limits), writer)
    container.begin(reader, task.limits)
    return container


async def remove_container(api: DockerApi, raw: Any) -> bool:
    """Kill and remove it; returns whether it is gone. Where the engine does not remove it, the next sweep tries again.

    Raises Unreachable.
    """
    try:
        await api.call(lambda _: raw.remove(force=True, v=True))
    except NotFound:
        pass
    except Unreachable:
        raise
    except EdgeError as e:
        logger.warning("container %s is left behind: %s", raw.id[:12], e.message)
        return False
    return True


async def _let_go(api: DockerApi, raw: Any) -> None:
    try:
        await remove_container(api, raw)
    except Unreachable as e:
        logger.warning("container %s is left behind: %s", raw.id[:12], e.message)


async def _discard(api: DockerApi, raw: Any, folders: Folders) -> None:
    if raw is not None:
        await _let_go(api, raw)
    await in_thread(folders.remove)


def _volumes(client: Any, image: str) -> list[str]:
    """Folders that the image declares as volumes: by default each is writable and as large as the host's disk."""
    config = client.images.get(image).attrs.get("Config") or {}
    taken = {BLOBS.rstrip("/"), OUTPUTS.rstrip("/"), "/tmp"}  # noqa: S108
    return [path for path in config.get("Volumes") or {} if path.rstrip("/") not in taken]


def _create(client: Any, task: DockerTask, folders: Folders, owner: str, name: str) -> Any:
    import docker.types

    limits = task.limits
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    group = NOBODY if os.geteuid() == 0 else os.getegid()
    return client.containers.create(
        task.image,
        task.args or None,
        # The agent's end of stdin closes with the agent: an idle program then ends by itself.
        stdin_open=True,
        detach=False,
        tty=False,
        init=True,
        environment={"EDGE_BLOBS": BLOBS, "EDGE_OUTPUTS": OUTPUTS, **task.env},
        labels={OWNER_LABEL: owner, STEP_LABEL: name},
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=f"{user}:{group}",
        pids_limit=limits.pids,
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        nano_cpus=int(limits.cpus * 1e9),
        shm_size=TMP,
        tmpfs=dict.fromkeys(["/tmp", *_volumes(client, task.image)], f"size={TMP},mode=1777"),  # noqa: S108
        ulimits=[
            docker.types.Ulimit(name="core", soft=0, hard=0),
            docker.types.Ulimit(name="fsize", soft=limits.outputs, hard=limits.outputs),
            docker.types.Ulimit(name="nofile", soft=DESCRIPTORS, hard=DESCRIPTORS),
        ],
        mounts=[
            docker.types.Mount(BLOBS.rstrip("/"), str(folders.blobs.absolute()), type="bind", read_only=True),
            docker.types.Mount(OUTPUTS.rstrip("/"), str(folders.outputs.absolute()), type="bind"),
        ],
        # json-file would let a looping program fill the disk; stderr is kept by the agent.
        log_config=docker.types.LogConfig(type="none"),
        device_requests=([docker.types.DeviceRequest(count=task.gpus, capabilities=[["gpu"]])] if task.gpus else None),
    )
