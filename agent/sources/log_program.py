"""Programs that print logs: they start and stop with the source and are restarted with backoff."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable

from agent.backoff import Backoff, doubling
from agent.environment import child_environment
from agent.errors import ConfigError
from agent.sources.batch import MAX_BATCH, Counters

logger = logging.getLogger(__name__)

BACKOFF_MOST = 30.0
"""Most seconds of backoff between two starts."""
HEALTHY = 10.0
"""After a run of this many seconds the backoff starts again at its first pause."""
_STDERR = 500


def find_program(name: str) -> str:
    """The program's path; raises ConfigError where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise ConfigError(
            f"{name} is not on this node", hint="set sources.tail to a log file or to a log program of this node"
        )
    return path


class LogProgram:
    """A program that prints a log on its standard output and does not end."""

    def __init__(self, name: str, counters: Counters, backoff: float = 1.0) -> None:
        """`backoff` is the first pause in seconds before it is started again; it doubles up to BACKOFF_MOST."""
        self.name = name
        self.problem = ""
        self._started = -math.inf
        self._counters = counters
        self._backoff = Backoff(doubling(backoff, BACKOFF_MOST))

    @property
    def age(self) -> float:
        """Seconds since it was started last."""
        return time.monotonic() - self._started

    async def blocks(self, arguments: Callable[[], list[str]]) -> AsyncIterator[bytes]:
        """Its output, as it comes; an empty block means that it has ended and will be restarted.

        `arguments` is called before each start. Raises ConfigError where the program is not installed.
        """
        ends = 0
        while True:
            begun = time.monotonic()
            self._started, printed = begun, False
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
    """Kill it if it runs, and wait until it has ended and its pipes are closed."""
    if process.returncode is None:
        process.kill()
    await process.wait()
    # Its pipes may hold unread output; without this they stay open until the loop notices.
    process._transport.close()  # type: ignore[attr-defined]
