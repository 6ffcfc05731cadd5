"""A warm program's stdin and stdout as questions and answers, one open at a time.

One at a time, because the program's folders hold one event's files: `docs/decisions/one-event-at-a-time.md`.
"""

from __future__ import annotations

import asyncio

from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.stderr import StderrLines
from agent.model.task import Limits, LogSink


def _nowhere(line: str) -> None:
    """Drop the log lines of a program while no event is open."""


class Dialogue:
    """Takes the program's output (`stdout`, `stderr`, `ended`); `ask` sends a line and returns the answer to it.

    After any exception from `ask`, or once `broken` is set, the program is out of step and must be ended.
    """

    def __init__(self, writer: asyncio.StreamWriter, limits: Limits) -> None:
        self._writer = writer
        self._limits = limits
        self._tail = StderrLines()
        self._log: LogSink = _nowhere
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._noise = 0
        self.broken: StepFailed | None = None

    def stdout(self, data: bytes) -> None:
        """Bytes of the program's stdout."""
        self._buffer += data
        if self._answer is None or self._answer.done():
            self.fail(broken("the program wrote to stdout without being asked", code="step.order"))
            return
        if len(self._buffer) > self._limits.stdout:
            self.fail(
                broken(
                    f"the program wrote more than its limit of {self._limits.stdout} bytes to stdout",
                    code="step.stdout",
                )
            )
            return
        end = self._buffer.find(b"\n", max(0, len(self._buffer) - len(data)))
        if end < 0:
            return
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._answer.set_result(line)
        if self._buffer:
            self.broken = broken("the program answered one event with more than one line", code="step.order")

    def stderr(self, data: bytes) -> None:
        """Bytes of the program's stderr."""
        self._noise += len(data)
        if self._noise > self._limits.stderr:
            self.fail(
                broken(
                    f"the program wrote more than its limit of {self._limits.stderr} bytes to stderr",
                    code="step.stderr",
                )
            )
            return
        self._tail.feed(data, self._log)

    def ended(self, text: str, code: str = "step.exit") -> None:
        """The program is gone; an open question fails with `text`."""
        self._tail.flush(self._log)
        self.fail(broken(text, code=code))

    def fail(self, error: StepFailed) -> None:
        """Keep the first error and fail the open question with it."""
        self.broken = self.broken or error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self.broken)

    async def ask(self, line: bytes, seconds: float, log: LogSink) -> bytes:
        """Send a line and wait for the answer, at most `seconds` for both; raises StepFailed."""
        if self.broken:
            raise self.broken
        self._log, self._noise = log, 0
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._send(line)
                return await self._answer
        except TimeoutError:
            raise broken(
                f"the program did not answer within its limit of {seconds:g} s",
                code="step.timeout",
                hint="raise limits.timeout of the step, or see its log lines for where it hangs",
            ) from None
        except StepFailed as e:
            raise StepFailed(e.message, final=e.final, code=e.code, hint=e.hint, **e.fields) from None
        finally:
            if self._answer.done() and not self._answer.cancelled():
                self._answer.exception()
            self._answer = None

    def fields(self) -> dict[str, list[str]]:
        """The fields of a failure: the program's last log lines."""
        return self._tail.fields()

    async def _send(self, line: bytes) -> None:
        try:
            self._writer.write(line)
            await self._writer.drain()
        except OSError:
            # The end of its output gives the cause; without one, the deadline ends the wait.
            return
