"""The `once` programs that the previous run of the agent left behind: kept for a while, so that they can be adopted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agent.executors.folders import Folders, clear_leftovers
from agent.executors.record import Handle, read_handle, read_result
from agent.threads import finished, in_thread

logger = logging.getLogger(__name__)

KILLED = 10.0
"""Seconds that killed processes may take to end: one that waits for a disk or a device ends later."""
LOOK = 0.01


class Kept:
    """The handles of an executor's left programs by the names of their folders; each is taken once.

    `others` are the handles of left programs that nothing can adopt: warm programs, and those of an earlier boot.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._handles: dict[str, Handle] = {}
        self._closed = False
        self._ending = asyncio.Lock()
        self.others: list[Handle] = []
        for folder in scratch.iterdir() if scratch.is_dir() else ():
            handle = read_handle(folder)
            if handle is not None and handle.worker is not None and read_result(folder) is not None:
                handle = msgspec.structs.replace(handle, worker=None)  # by now it may carry out another program
            if handle is not None and handle.once and not handle.void:
                self._handles[folder.name] = handle
            elif handle is not None:
                self.others.append(handle)

    @property
    def containers(self) -> set[str]:
        """The ids of their containers."""
        return {h.container for h in self._handles.values()}

    def clear(self) -> None:
        """Delete the files of all other programs of the previous run. Blocks."""
        clear_leftovers(self._scratch, keep=self._handles)

    async def take(self, name: str) -> Handle | None:
        """The handle of the program in the folder `name`, which is kept no longer; None for an unknown folder."""
        async with self._ending:  # its end is waited for
            return self._handles.pop(name, None)

    def put_back(self, name: str, handle: Handle) -> None:
        """Keep it again, as it could be neither adopted nor found dead."""
        if not self._closed:
            self._handles[name] = handle

    async def give_up(self, end: Callable[[Handle], Awaitable[None]]) -> None:
        """End the programs that nothing adopted by `end`, and delete their files."""
        self._closed = True
        while self._handles:
            async with self._ending:
                if self._handles:
                    await finished(self._end(*self._handles.popitem(), end))

    async def _end(self, name: str, handle: Handle, end: Callable[[Handle], Awaitable[None]]) -> None:
        logger.warning("%s: ending a program of the previous run of the agent that nothing has taken up", name)
        await end(handle)
        await in_thread(Folders(self._scratch / name, shared=False).remove)


async def end_processes(handle: Handle) -> None:
    """Kill the processes of a program and wait for their end."""
    handle.kill()
    try:
        async with asyncio.timeout(KILLED):
            while handle.alive:
                await asyncio.sleep(LOOK)
    except TimeoutError:
        logger.warning("a killed program does not end: the kernel waits for a device or a disk")
