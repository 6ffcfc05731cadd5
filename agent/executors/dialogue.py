"""A warm program's stdin and stdout as questions and answers, one open at a time.

One at a time, because the program's folders hold one event's files: `docs/decisions/0101-one-event-at-a-time.md`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agent.errors import StepFailed
from agent.executors.contract import broken, excerpt, is_ready
from agent.executors.log_lines import LogLines, log_failure
from agent.executors.record import Ended
from agent.model.task import Limits, StepLog

Write = Callable[[bytes], Awaitable[None]]


class Dialogue:
    """The Listener of a warm program; `ask` sends a line and returns the answer to it.

    After any exception from `ask`, or once `broken` is set, the program is out of step and must be ended: `over` is set
    then. A program has `start_timeout` seconds from `started` until it is ready: it writes `{"ready": true}`, or answers.
    """

    def __init__(self, kind: str, limits: Limits, log: StepLog, start_timeout: float) -> None:
        """`kind` is the key of the program in a pipeline file, for hints."""
        self._kind = kind
        self._limits = limits
        self.log = log
        """The log of its execution."""
        self._stderr = LogLines(log, "stderr")
        self._event = ""
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._noise = 0
        self._start_timeout = start_timeout
        self._ready_by = time.monotonic() + start_timeout
        self._ready = asyncio.Event()
        self.over = asyncio.Event()
        self.broken: StepFailed | None = None

    @property
    def ready(self) -> bool:
        """Whether the program has been ready for events."""
        return self._ready.is_set()

    def started(self) -> None:
        """The program has just been started: its `start_timeout` counts from now."""
        self._ready_by = time.monotonic() + self._start_timeout

    def stdout(self, data: bytes) -> None:
        """Bytes of the program's stdout."""
        if self.broken is not None:
            return
        start = len(self._buffer)
        self._buffer += data
        if len(self._buffer) > self._limits.stdout:
            text = f"the program wrote more than its limit of {self._limits.stdout} bytes to stdout"
            self.fail(broken(text, code="step.stdout"))
            return
        while self.broken is None and (end := self._buffer.find(b"\n", start)) >= 0:
            line, start = bytes(self._buffer[:end]), 0
            del self._buffer[: end + 1]
            self._line(line)
        if self._buffer and self.broken is None and self.ready and not self._asked():
            self._unasked(bytes(self._buffer))

    def _line(self, line: bytes) -> None:
        if not self.ready and is_ready(line):
            self._ready.set()
        elif self._answer is not None and not self._answer.done():
            self._ready.set()
            self._answer.set_result(line)
        else:
            self._unasked(line)

    def _asked(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def _unasked(self, line: bytes) -> None:
        if self._answer is not None:
            text = "the program answered one event with more than one line"
        else:
            text = "the program wrote to stdout without being asked"
        self.fail(broken(text, code="step.order", line=excerpt(line)))

    def stderr(self, data: bytes) -> None:
        """Bytes of the program's stderr."""
        if self.broken is not None:
            return
        self._noise += len(data)
        if self._noise > self._limits.stderr:
            text = f"the program wrote more than its limit of {self._limits.stderr} bytes to stderr"
            self.fail(broken(text, code="step.stderr"))
            return
        self._stderr.feed(data, self._event)

    def ended(self, end: Ended) -> None:
        """The program is gone; an open question fails with the reason."""
        self._stderr.flush(self._event)
        self.fail(broken(end.text, code=end.code))

    def fail(self, error: StepFailed) -> None:
        """Keep the first error, write it to the log, and fail the open question with it."""
        if self.broken is None:
            self.broken = error
            self.over.set()
            log_failure(self.log, error, self._event)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self.broken)

    async def ask(self, write: Write, line: bytes, event: str) -> bytes:
        """Send a line and wait for the answer, within the limits for both; raises StepFailed."""
        if self.broken:
            raise self.broken
        self._event, self._noise = event, 0
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._within_limits(write, line)
            return self._answer.result()
        except StepFailed as e:
            raise StepFailed(e.message, final=e.final, code=e.code, hint=e.hint, **e.fields) from None
        finally:
            if self._answer.done() and not self._answer.cancelled():
                self._answer.exception()
            self._answer = None

    async def _within_limits(self, write: Write, line: bytes) -> None:
        """Send the line and wait for the answer: after the start at most `start_timeout`, from then on `timeout`."""
        assert self._answer is not None
        sending = asyncio.ensure_future(write(line))
        try:
            if not self.ready:
                ready = asyncio.ensure_future(self._ready.wait())
                first: set[asyncio.Future[Any]] = {ready, self._answer}
                try:
                    left = max(0.0, self._ready_by - time.monotonic())
                    await asyncio.wait(first, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ready.cancel()
            if not (await asyncio.wait({self._answer}, timeout=self._limits.timeout))[0]:
                raise self._late()
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        self._answer.result()

    def _late(self) -> StepFailed:
        seconds, key = self._limits.timeout, f"{self._kind}.timeout"
        text = f"the program did not answer within its limit of {seconds:g} s"
        if not self.ready:
            text += f", after its start limit of {self._start_timeout:g} s had passed"
            key = f"{self._kind}.start_timeout or {key}"
        error = broken(text, code="step.timeout", hint=f"raise {key} of the step, or see its log for where it hangs")
        self.fail(error)
        return error

    def fields(self) -> dict[str, list[str]]:
        """The fields of a failure: the program's last log lines."""
        return self._stderr.fields()
