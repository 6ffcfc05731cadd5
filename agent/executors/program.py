"""A running program of any kind: its streams, its end, its use of resources, and the way to kill it.

`warm.py` (the dialogue about events) and `once.py` (arguments, files and an exit code) are the two ways to use one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agent import ticks
from agent.errors import StepFailed
from agent.executors.folders import Folders, outputs_failure
from agent.executors.record import Ended, Usage
from agent.model.task import Limits

LOOK = 0.1
IDLE_LOOK = 2.0
"""Seconds between looks at the size of the outputs folder, while an event is open and otherwise."""


class Listener(Protocol):
    """Gets the streams of a program as they come. All calls are on the event loop."""

    def stdout(self, data: bytes) -> None: ...
    def stderr(self, data: bytes) -> None: ...

    def ended(self, end: Ended) -> None:
        """No more output comes. Called once, unless the program is closed before."""
        ...

    def fail(self, error: StepFailed) -> None:
        """The program is being killed for this reason."""
        ...


class Program(Protocol):
    """A running program. A `once` program goes on when the agent crashes, and the next run of the agent adopts it."""

    @property
    def id(self) -> str:
        """Its name in logs: a container's id, a process's number."""
        ...

    @property
    def age(self) -> float:
        """Seconds that it had run when this run of the agent opened or adopted it; 0 where it had ended by then."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to its stdin and wait until there is room; does nothing where the program has closed it."""
        ...

    async def usage(self) -> Usage | None:
        """The resources that it has used until now; None where they are not known."""
        ...

    async def kill(self) -> None:
        """End it now; `close` must follow."""
        ...

    async def close(self) -> None:
        """End it and leave nothing behind but its folders."""
        ...


class Launcher(Protocol):
    """Starts the program of one task."""

    kind: str
    """The key of the program in a pipeline file, for hints."""

    async def check(self) -> None:
        """Raise Unreachable, NotFound or StepFailed where the program cannot be started now."""
        ...

    def folders(self, once: str = "") -> Folders:
        """Folders for one program, not made yet: those with the name `once` of a `once` program, or new folders."""
        ...

    def seen_at(self, path: Path) -> str:
        """A file or folder of `folders`, as the program sees it; folders end in a slash."""
        ...

    async def open(self, folders: Folders, listener: Listener, *, once: bool) -> Program:
        """Start it; raises Unreachable, NotFound or StepFailed and leaves nothing behind but the folders.

        With `once` its stdin is empty.
        """
        ...

    async def adopt(self, folders: Folders, listener: Listener) -> Program | None:
        """The `once` program that the previous run of the agent started in these folders: it runs, or it has ended.

        Its output comes again from its start. Returns None where nothing runs in the folders. Raises Unreachable where
        that cannot be known now.
        """
        ...


@asynccontextmanager
async def watched(
    program: Program, folders: Folders, limits: Limits, listener: Listener, kind: str, busy: asyncio.Event
) -> AsyncIterator[None]:
    """Kills the program when its files overrun a limit, within the block; looks often while `busy` is set."""
    task = asyncio.create_task(_watch(program, folders, limits, listener, kind, busy), name=f"files of {program.id}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(
    program: Program, folders: Folders, limits: Limits, listener: Listener, kind: str, busy: asyncio.Event
) -> None:
    while True:
        if busy.is_set():
            await asyncio.sleep(LOOK)
        else:
            await ticks.wait(busy, ticks.until(IDLE_LOOK))
        if overrun := await asyncio.to_thread(folders.overrun, limits):
            break
    listener.fail(outputs_failure(overrun, kind))
    await program.kill()
