"""The parent's side of a worker process: it starts the worker, asks it one thing after another, and kills it.

The worker's side is `agent.worker`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from agent.environment import clean_environment
from agent.frozen import internal, own_command
from agent.worker import HEADER, MAX_MESSAGE

logger = logging.getLogger(__name__)

GONE = 10.0
"""Seconds that a killed worker may take to end: a busy machine needs seconds to free its memory."""

CHECK = 120.0
"""Seconds that a worker may take to start and end when it is only checked: an emulated processor is 20 times slower."""


class TooLarge(Exception):
    """A worker announces a message beyond MAX_MESSAGE."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a message of {size} bytes")
        self.size = size


def worker_command(module: str, subcommand: str, *arguments: str) -> list[str]:
    """The command of a worker: `module` by the interpreter, or `subcommand` of the frozen agent."""
    if internal() is not None:
        return [*own_command(), subcommand, *arguments]
    return [sys.executable, "-P", "-m", module, *arguments]


async def check_worker(module: str, subcommand: str, *arguments: str) -> str:
    """Start a worker whose parent is gone at once; returns why it does not end well, empty where it does."""
    mine, its = socket.socketpair()
    mine.close()
    with its:
        process = await asyncio.create_subprocess_exec(
            *worker_command(module, subcommand, *arguments, str(its.fileno())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(its.fileno(),),
            env=clean_environment(),
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(CHECK):
            _, err = await process.communicate()
    except TimeoutError:
        return f"it does not end in {CHECK:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode == 0:
        return ""
    last = err.decode(errors="replace").strip().rpartition("\n")[2][-200:]
    return f"it ended with {process.returncode}" + (f": {last}" if last else "")


class Child:
    """One worker process and the socket to it. After any exception from `ask` it must be closed."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._closed = False

    @classmethod
    async def start(cls, module: str, subcommand: str, *arguments: str) -> Child:
        """Start a worker, which gets the number of its socket as the last argument; raises OSError."""
        mine, its = socket.socketpair()
        with its:
            try:
                reader, writer = await asyncio.open_connection(sock=mine)
            except BaseException:
                mine.close()
                raise
            try:
                process = await asyncio.create_subprocess_exec(
                    *worker_command(module, subcommand, *arguments, str(its.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=(its.fileno(),),
                    env=clean_environment(),
                    start_new_session=True,
                )
            except BaseException:
                writer.transport.abort()
                raise
        return cls(process, reader, writer)  # no await after the start: a cancelled caller leaves no process

    @property
    def alive(self) -> bool:
        """Whether the idle worker still listens: it sends nothing unasked, so anything to read means its end."""
        if self._process.returncode is not None or self._writer.is_closing():
            return False
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    async def ask(self, message: bytes) -> bytes:
        """The first answer to a message; raises OSError or EOFError where the worker has ended, TooLarge."""
        self._writer.write(HEADER.pack(len(message)) + message)
        await self._writer.drain()
        return await self.receive()

    async def receive(self) -> bytes:
        """The next answer, of a worker that gives several; raises as `ask`."""
        (size,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        if size > MAX_MESSAGE:
            raise TooLarge(size)
        return await self._reader.readexactly(size)

    async def close(self) -> None:
        """Kill the worker and its process group, even in the middle of its work."""
        first, self._closed = not self._closed, True
        if first:  # later its number may be another group's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        try:
            async with asyncio.timeout(GONE):
                await self._process.wait()
        except TimeoutError:  # it hangs in a driver, and ends when the driver lets it go
            logger.warning(
                "the worker process %d does not end: the kernel waits for a device or a disk", self._process.pid
            )
