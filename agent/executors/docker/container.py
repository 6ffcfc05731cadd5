"""One running container: isolated, attached before it starts, killed and removed at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from agent.errors import EdgeError, NotFound, Unreachable
from agent.executors.contract import BLOBS, EVENT, INPUTS, OUTPUTS, places
from agent.executors.docker.api import DockerApi, attach, follow_output
from agent.executors.docker.frames import STDOUT, frames
from agent.executors.folders import Folders
from agent.executors.once import MAX_LOG
from agent.executors.program import Listener
from agent.executors.record import HANDLE, Ended, Handle, Usage, write_record
from agent.model.task import DockerTask
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
SOCKET_BUFFER = 1 << 20
LOG = {"max-size": str(4 * MAX_LOG), "max-file": "2", "compress": "false"}
"""The engine's log of a `once` container: it holds stdout and stderr up to their limits, and what the engine adds to short
lines, for a program that wrote no more; the disk never holds more than twice `max-size`."""
STATE_LOOKS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between looks at a container that has closed its output and may still run."""


class Container:
    """A Program. Made by `open_container` or `adopt_container`; its labels tell it from the containers of other agents."""

    def __init__(
        self, api: DockerApi, raw: Any, link: Link, listener: Listener, closed: Callable[[str], None], *, once: bool,
        age: float = 0.0,
    ) -> None:  # fmt: skip
        """`closed` gets its id when it is closed."""
        self.id: str = raw.id
        self.age = age
        self._api = api
        self._raw = raw
        self._closed = closed
        self._writer = link.writer
        self._listener = listener
        self._once = once
        self._usage: Usage | None = None
        self._over = False
        self._follower = asyncio.create_task(self._follow(link.reader), name=f"container {self.id[:12]} output")

    async def write(self, data: bytes) -> None:
        """See Program."""
        with suppress(OSError):  # the end of its output reports the cause
            self._writer.write(data)
            await self._writer.drain()

    async def usage(self) -> Usage | None:
        """See Program; after its end the last that was known, as the engine has no statistics any more."""
        if self._over:
            return self._usage
        try:
            facts = await self._api.call(lambda _: self._raw.client.api.stats(self.id, stream=False, one_shot=True))
        except EdgeError as e:
            logger.debug("container %s: its use of resources is not known: %s", self.id[:12], e.message)
            return self._usage
        cpu = facts.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0) / 1e9
        memory = facts.get("memory_stats", {}).get("usage", 0)
        if cpu:  # it may have ended just now
            self._usage = Usage(cpu, memory).since(self._usage)
        return self._usage

    async def kill(self) -> None:
        """See Program."""
        try:
            await self._api.call(lambda _: self._raw.kill())
        except EdgeError as e:
            logger.info("container %s was not there to be killed: %s", self.id[:12], e.message)

    async def close(self) -> None:
        """Kill and remove it; without an engine, the next sweep removes it."""
        self._follower.cancel()
        await asyncio.wait({self._follower})
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
        await _let_go(self._api, self._raw)
        self._closed(self.id)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        async for stream, data in frames(reader):
            (self._listener.stdout if stream == STDOUT else self._listener.stderr)(data)
        end = await self._end()
        self._over = True
        self._listener.ended(end)

    async def _end(self) -> Ended:
        """The reason why the container's output ended; a `once` container is waited for until it has exited."""
        looks = iter(STATE_LOOKS)
        while True:
            await asyncio.sleep(next(looks, STATE_LOOKS[-1]))
            try:
                await self._api.call(lambda _: self._raw.reload())
            except EdgeError as e:
                return Ended(f"the container is gone: {e.message}")
            state = self._raw.attrs.get("State", {})
            if not state.get("Running") and state.get("Status") != "created":
                return _ended(state)
            if not self._once:
                return Ended("the container closed its stdout")


class Link(NamedTuple):
    """The streams of an attached container."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def _ended(state: dict[str, Any]) -> Ended:
    took = _seconds(state.get("StartedAt", ""), state.get("FinishedAt", ""))
    code = state.get("ExitCode")
    if state.get("OOMKilled") and code != 0:  # else a child of the program was killed, and the program copes with that
        return Ended("the container was killed: it wanted more memory than its limit", took=took)
    return Ended(f"the container exited with {code}", exit_code=code, took=took)


def _seconds(start: str, end: str) -> float | None:
    """The time between two times of the engine; None where it has none."""
    try:
        return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    except (TypeError, ValueError):
        return None


async def open_container(
    api: DockerApi, task: DockerTask, folders: Folders, owner: str, name: str, listener: Listener,
    closed: Callable[[str], None], *, once: bool,
) -> Container:  # fmt: skip
    """Make, attach and start a container; raises Unreachable, NotFound or StepFailed and leaves nothing behind."""
    raw: Any = None
    link: socket.socket | None = None
    writer: asyncio.StreamWriter | None = None
    try:
        raw = await api.call(lambda client: _create(client, task, folders, owner, name, once=once))
        link = await api.call(lambda _: attach(raw, stdin=not once))
        link.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=link, limit=SOCKET_BUFFER)
        link = None
        if once:
            handle = Handle.now(container=raw.id)
            await in_thread(lambda: write_record(folders.root, HANDLE, handle))
        await api.call(lambda _: raw.start())
    except BaseException:
        if link is not None:
            link.close()
        if writer is not None:
            writer.transport.abort()
        if raw is not None:
            await asyncio.shield(_let_go(api, raw))
        raise
    return Container(api, raw, Link(reader, writer), listener, closed, once=once)


async def adopt_container(
    api: DockerApi, handle: Handle, owner: str, listener: Listener, closed: Callable[[str], None]
) -> Container | None:
    """The container of a `once` program of the previous run of the agent, running or ended; None where it is gone.

    Raises Unreachable.
    """
    try:
        raw = await api.call(lambda client: client.containers.get(handle.container))
    except NotFound:
        return None
    except EdgeError as e:  # it may run
        raise Unreachable(e.message, hint=e.hint, code=e.code) from e
    if raw.labels.get(OWNER_LABEL) != owner:
        return None
    if raw.status == "created":  # the agent died before it started the container
        await remove_container(api, raw)
        return None
    link = Link(*await follow_output(api.host, raw.id))
    age = handle.age if raw.status == "running" else 0.0
    return Container(api, raw, link, listener, closed, once=True, age=age)


def user_of_containers() -> int:
    """The user that programs in containers run as."""
    return NOBODY if os.geteuid() == 0 else os.geteuid()


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


def _volumes(client: Any, image: str, taken: set[str]) -> list[str]:
    """Folders that the image declares as volumes but those of `taken`.

    By default each is writable and as large as the host's disk.
    """
    config = client.images.get(image).attrs.get("Config") or {}
    return [path for path in config.get("Volumes") or {} if path.rstrip("/") not in taken]


def _create(client: Any, task: DockerTask, folders: Folders, owner: str, name: str, *, once: bool) -> Any:
    import docker.types

    limits = task.limits
    mounts = _mounts(folders, once)
    memory = {"/tmp", *_volumes(client, task.image, {"/tmp", *(target for _, target, _ in mounts)})}  # noqa: S108
    user = user_of_containers()
    group = NOBODY if os.geteuid() == 0 else os.getegid()
    return client.containers.create(
        task.image,
        task.args or None,
        # The agent's end of stdin closes with the agent: an idle program then ends by itself.
        stdin_open=not once,
        detach=False,
        tty=False,
        init=True,
        environment=task.env | places(once=once),
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
        tmpfs=dict.fromkeys(sorted(memory), f"size={TMP},mode=1777"),
        ulimits=[
            docker.types.Ulimit(name="core", soft=0, hard=0),
            docker.types.Ulimit(name="fsize", soft=limits.outputs, hard=limits.outputs),
            docker.types.Ulimit(name="nofile", soft=DESCRIPTORS, hard=DESCRIPTORS),
        ],
        mounts=[docker.types.Mount(target, source, type="bind", read_only=ro) for source, target, ro in mounts],
        # json-file would let a looping program fill the disk; the agent keeps the output. Only the engine has that of a
        # program that goes on when the agent crashes.
        log_config=docker.types.LogConfig(type="local", config=LOG) if once else docker.types.LogConfig(type="none"),
        device_requests=([docker.types.DeviceRequest(count=task.gpus, capabilities=[["gpu"]])] if task.gpus else None),
    )


def _mounts(folders: Folders, once: bool) -> list[tuple[str, str, bool]]:
    """(path on the host, path in the container, read-only)."""
    inputs = (str(folders.blobs.absolute()), (INPUTS if once else BLOBS).rstrip("/"), True)
    outputs = (str(folders.outputs.absolute()), OUTPUTS.rstrip("/"), False)
    event = (str(folders.event.absolute()), EVENT, True)
    return [inputs, outputs, event] if once else [inputs, outputs]
