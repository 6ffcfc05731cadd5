"""Source filters: raw log lines in, line events out, in this process where the engine can be stopped, else in a worker.

Python only counts the lines of a batch and parses the few events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar, overload

import msgspec

from agent.errors import StepFailed
from agent.executors.contract import broken, check_data, check_type
from agent.executors.log_lines import LogLines
from agent.executors.wasm.sandbox import Call, Outcome, check_outcome
from agent.model.decoding import DAMAGED
from agent.model.event import MAX_EVENT
from agent.model.task import LineEvent, StepLog, WasmTask

MAX_BATCH = 5 << 20
"""Largest batch in bytes; sources cut at 4 MiB (MAX_BACKLOG), plus a newline."""
OUT_PER_BYTE = 4
"""Bytes of stdout allowed for each byte of a batch, on top of the task's limit: a batch may be all hits."""
ACCESS_POINT = 64
"""Largest name of an access point, in bytes."""
EXACT = 1 << 16
"""Lines are counted in batches up to so many bytes; in larger batches the look-up of a line finds a wrong number."""
PART = 128 * 1024
"""Bytes of a filter's output that are decoded at once: a batch of a burst has ten thousand events."""
_EVENTS = msgspec.json.Decoder(LineEvent)

T = TypeVar("T")
Execute = Callable[[Call], Awaitable[Outcome]]


class WasmFilter:
    """A FilterRunner; a fresh instance per batch."""

    def __init__(self, name: str, task: WasmTask, execute: Execute, slowness: float) -> None:
        self._argv = [name, *task.args]
        self._env = list(task.env.items())
        self._limits = task.limits
        self._execute = execute
        self._slowness = slowness

    async def feed(self, lines: bytes, log: StepLog) -> Sequence[LineEvent]:
        """See FilterRunner."""
        return await self._run(lines, log, parse_events)

    async def output(self, lines: bytes, log: StepLog) -> bytes:
        """Run one batch and return stdout as it is; raises StepFailed."""
        return await self._run(lines, log, lambda stdout, _: stdout)

    async def _run(self, lines: bytes, log: StepLog, read: Callable[[bytes, bytes], T]) -> T:
        if len(lines) > MAX_BATCH:
            raise broken(f"a batch of {len(lines)} bytes is larger than {MAX_BATCH}", code="step.input")
        limits = self._limits
        call = Call(
            argv=self._argv,
            stdin=lines,
            seconds=limits.timeout * self._slowness,
            memory=limits.memory,
            stdout=limits.stdout + OUT_PER_BYTE * len(lines),
            stderr=limits.stderr,
            env=self._env,
        )
        tail = LogLines(log, "stderr")
        outcome = await self._execute(call)
        tail.feed(outcome.stderr)
        tail.flush()
        try:
            check_outcome(outcome, call)
            return read(outcome.stdout, lines)
        except StepFailed as e:
            e.fields.update(tail.fields())
            raise

    async def close(self) -> None:
        """Do nothing: the executor holds everything that filters share."""


def _may_have_line(lines: bytes, number: int) -> bool:
    """Whether there are so many lines; in a large batch whether there can be: counting costs as much as searching."""
    if len(lines) > EXACT:
        return number <= len(lines)
    return lines.count(b"\n") + (not lines.endswith(b"\n")) >= number


def _starts_line(lines: bytes, at: int) -> bool:
    return 0 <= at < len(lines) and (at == 0 or lines[at - 1] == ord("\n"))


def line_numbers(events: Sequence[LineEvent], lines: bytes) -> list[int]:
    """The number of each event's line, counted where the filter names its place."""
    numbers: list[int] = []
    number, place = 1, 0
    for event in events:
        if event.at < 0:
            numbers.append(event.line)
            continue
        if event.at < place:
            number, place = 1, 0
        number += lines.count(b"\n", place, event.at)
        place = event.at
        numbers.append(number)
    return numbers


class ManyEvents(Sequence[LineEvent]):
    """Checked events that stay encoded; each look at them decodes some PART bytes."""

    def __init__(self, parts: list[bytes], counts: list[int]) -> None:
        self._parts, self._counts = parts, counts

    def __len__(self) -> int:
        return sum(self._counts)

    def __iter__(self) -> Iterator[LineEvent]:
        for part in self._parts:
            yield from _EVENTS.decode_lines(part)

    @overload
    def __getitem__(self, index: int) -> LineEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[LineEvent]: ...
    def __getitem__(self, index: int | slice) -> LineEvent | list[LineEvent]:
        return list(self)[index]


def parse_events(stdout: bytes, lines: bytes) -> Sequence[LineEvent]:
    """The filter's events, checked: their types and sizes are those of events, their lines (up to EXACT) in the batch."""
    if len(stdout) <= PART:
        return _parsed(stdout, lines)
    parts = list(_parts(stdout))
    return ManyEvents(parts, [len(_parsed(part, lines)) for part in parts])


def _parts(stdout: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(stdout):
        end = stdout.rfind(b"\n", start, start + PART) + 1 or stdout.find(b"\n", start) + 1 or len(stdout)
        yield stdout[start:end]
        start = end


def _parsed(stdout: bytes, lines: bytes) -> list[LineEvent]:
    if not stdout:
        return []
    try:
        events = _EVENTS.decode_lines(stdout)
    except DAMAGED as e:
        raise broken(f"the filter's output is not one event a line: {e}") from e
    for event in events:
        if not event.line and event.at < 0:
            raise broken("an event of the filter names neither its line, from 1, nor the byte where it starts")
        if event.line < 0:
            raise broken(f"the filter names line {event.line}; lines count from 1")
        what = f"the event of line {event.line}" if event.line else f"the event at byte {event.at}"
        check_type(event.type, what)
        check_data(event.data, what)
        if len(event.access_point.encode()) > ACCESS_POINT:
            raise broken(f"the access point of {what} has a name of more than {ACCESS_POINT} bytes")
        if event.at != -1 and not _starts_line(lines, event.at):
            raise broken(f"the filter has {what} at byte {event.at}, where no line starts")
    last = max((event.line for event in events), default=0)
    if not _may_have_line(lines, last):
        raise broken(f"the filter names line {last} of a batch of {len(lines.splitlines())} lines")
    if len(stdout) > MAX_EVENT and any(len(msgspec.json.encode(e)) > MAX_EVENT for e in events):
        raise broken(f"an event of the filter is larger than {MAX_EVENT} bytes")
    return events
