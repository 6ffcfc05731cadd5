"""Programs that print logs: started, restarted with backoff, stopped with the source."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable

from agent.backoff import Backoff, doubling
from agent.environment import child_environment
from agent.errors import ConfigError
from agent.sources.batch import MAX_BATCH, Counters

logger = logging.getLogger(__name__)

BACKOFF_MOST = 30.0
"""Most seconds between two starts of a program that keeps ending."""
HEALTHY = 10.0
"""A program that ran for so many seconds is started again without waiting longer than the first time."""
_STDERR = 500


def find_program(name: str) -> str:
    """The program's path; raises ConfigError where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise ConfigError(
            f"{name} is not on this node", hint="set sources.tail to a log file, or to what this node has"
        )
    return path


class LogProgram:
    """A program whose standard output is a log without end."""

    def __init__(self, name: str, counters: Counters, backoff: float = 1.0) -> None:
        """`backoff` is the first pause in seconds before it is started again; it doubles up to BACKOFF_MOST."""
        self.name = name
        self.problem = ""
        self._counters = counters
        self._backoff = Backoff(doubling(backoff, BACKOFF_MOST))

    async def blocks(self, arguments: Callable[[], list[str]]) -> AsyncIterator[bytes]:
        """What it prints, as it comes; an empty block says that it has ended and is about to be started again.

        `arguments` are asked for before each start. Raises ConfigError where there is no such program.
        """
        ends = 0
        while True:
            begun = time.monotonic()
            printed = False
            process = await asyncio.create_subprocess_exec(
                find_program(self.name),
                *arguments(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=child_environment(),
                limit=MAX_BATCH // 2,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            complaint = bytearray()
            drain = asyncio.create_task(_keep_last(process.stderr, complaint))
            try:
                while block := await process.stdout.read(MAX_BATCH):
                    self.problem = ""
                    printed = True
                    yield block
                await drain
                code = await process.wait()
            finally:
                drain.cancel()
                await stop(process)
            said = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            self._ended(code, said)
            yield b""
            healthy = printed or time.monotonic() - begun > HEALTHY
            ends = 1 if healthy else ends + 1
            await asyncio.sleep(self._backoff.after(ends))

    def _ended(self, code: int, said: str) -> None:
        self._counters.restarts += 1
        problem = f"{self.name} ended with {code}: {said}" if said else f"{self.name} ended with {code}"
        if problem != self.problem:
            logger.warning("%s; it is started again", problem)
        self.problem = problem


async def _keep_last(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while data := await stream.read(4096):
        kept += data
        del kept[:-_STDERR]


async def stop(process: asyncio.subprocess.Process) -> None:
    """Kill it, if it still runs, and wait until it is gone and its pipes are closed."""
    if process.returncode is None:
        process.kill()
    await process.wait()
    # Its pipes may hold what nobody will read any more; without this they stay open until the loop notices.
    process._transport.close()  # type: ignore[attr-defined]
