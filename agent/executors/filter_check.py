"""`filter check MODULE FILE`: does a source filter keep the contract at every cut of its input, and how fast is it?"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from agent.errors import StepFailed
from agent.executors.log_lines import NoLog
from agent.executors.wasm.filter import line_numbers
from agent.model.task import FilterRunner, LineEvent

BATCH = 1 << 20
"""Largest batch in bytes, but for one of LARGE."""
LARGE = 4 << 20
"""Largest batch of a backlog in bytes: MAX_BACKLOG of the sources."""
SINGLE = 2_000
"""Most lines that are fed one at a time: the first half of them from the start, the rest at random."""
SHOWN = 10
"""Most violations that are reported."""


class FilterReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The result; `ok` without violations. The speed is of the second run of the whole input, in wall-clock time."""

    ok: bool
    lines: int
    bytes: int
    events: int = 0
    types: dict[str, int] = {}
    rounds: int = 0
    single: int = 0
    seconds: float = 0.0
    lines_per_second: float = 0.0
    violations: list[str] = []


class _Bad(Exception):
    """A run that breaks the contract; the text says how."""


async def check_filter(runner: FilterRunner, data: bytes, *, rounds: int = 8, seed: int = 0) -> FilterReport:
    """Feed `data` whole, cut at random `rounds` times, and line by line, and compare the events.

    Never raises StepFailed: errors of the filter are in the report.
    """
    lines = [line + b"\n" for line in _split(data)]
    check = _Check(runner, lines, random.Random(seed))  # noqa: S311
    report = FilterReport(ok=False, lines=len(lines), bytes=len(data))
    try:
        whole = await check.whole(report)
        report.events = len(whole)
        report.types = dict(Counter(event.type for event in whole).most_common())
        await check.large(whole)
        await check.without_last_newline(whole)
        for _ in range(rounds if len(lines) > 1 else 0):
            await check.cut(whole)
            report.rounds += 1
        report.single = await check.single(whole)
    except _Bad as e:
        check.violations.append(str(e))
    report.violations = check.violations[:SHOWN]
    report.ok = not check.violations
    return report


def _split(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return parts[:-1] if parts[-1] == b"" else parts


class _Check:
    def __init__(self, runner: FilterRunner, lines: Sequence[bytes], rng: random.Random) -> None:
        self._runner = runner
        self._lines = lines
        self._rng = rng
        self.violations: list[str] = []

    async def whole(self, report: FilterReport) -> list[LineEvent]:
        """The events of the whole input, run twice: the first run may compile, and both must give the same events."""
        cuts = self._batches()
        first = await self._run(cuts, "whole")
        started = time.perf_counter()
        second = await self._run(cuts, "whole, again")
        report.seconds = round(time.perf_counter() - started, 6)
        report.lines_per_second = round(len(self._lines) / report.seconds) if report.seconds else 0.0
        if first != second:
            raise _Bad("the same input gave other events the second time")
        if any(a.line > b.line for a, b in pairwise(first)):
            raise _Bad("events are not in the order of their lines")
        return first

    async def large(self, whole: list[LineEvent]) -> None:
        """Check a batch as large as those of a backlog, within the limits of any batch."""
        end = self._batches(LARGE)[1] if self._lines else 0
        if end > self._batches()[1]:
            what = f"the first {end} lines at once"
            found = await self._feed(b"".join(self._lines[:end]), 0, what)
            self._compare(found, [e for e in whole if e.line <= end], what)

    async def without_last_newline(self, whole: list[LineEvent]) -> None:
        """Check that a last line without its newline is a line."""
        if not self._lines:
            return
        start = self._batches()[-2]
        last = [*self._lines[start:-1], self._lines[-1].removesuffix(b"\n")]
        found = await self._feed(b"".join(last), start, "the last newline missing")
        self._compare(found, [e for e in whole if e.line > start], "without the last newline")

    async def cut(self, whole: list[LineEvent]) -> None:
        """Check batches that are cut at random places."""
        count = len(self._lines)
        cuts = sorted(self._rng.sample(range(1, count), min(count - 1, self._rng.randint(1, 24))))
        places = sorted({*self._batches(), *cuts})
        self._compare(await self._run(places, "cut"), whole, f"cut before lines {', '.join(str(c + 1) for c in cuts)}")

    async def single(self, whole: list[LineEvent]) -> int:
        """Check one line at a time, all of them where there are few. Returns the count."""
        count = len(self._lines)
        chosen: Sequence[int] = range(count)
        if count > SINGLE:
            half = SINGLE // 2
            chosen = [*range(half), *sorted(self._rng.sample(range(half, count), half))]
        wanted: dict[int, list[LineEvent]] = {}
        for event in whole:
            wanted.setdefault(event.line, []).append(event)
        for index in chosen:
            found = await self._feed(self._lines[index], index, f"line {index + 1} alone")
            self._compare(found, wanted.get(index + 1, []), f"line {index + 1} alone")
            if len(self.violations) >= SHOWN:
                break
        return len(chosen)

    def _batches(self, most: int = BATCH) -> list[int]:
        """The starts of batches of at most `most` bytes, and the end."""
        places, size = [0], 0
        for i, line in enumerate(self._lines):
            if size and size + len(line) > most:
                places.append(i)
                size = 0
            size += len(line)
        return [*places, len(self._lines)]

    async def _run(self, places: Sequence[int], what: str) -> list[LineEvent]:
        events: list[LineEvent] = []
        for start, end in pairwise(places):
            events += await self._feed(b"".join(self._lines[start:end]), start, what)
        return events

    async def _feed(self, batch: bytes, start: int, what: str) -> list[LineEvent]:
        try:
            events = await self._runner.feed(batch, NoLog())
        except StepFailed as e:
            raise _Bad(f"{what}, from line {start + 1} on: {e.message}") from e
        count = batch.count(b"\n") + (not batch.endswith(b"\n") and batch != b"")
        numbers = line_numbers(events, batch)
        for number, event in zip(numbers, events, strict=True):
            if not 1 <= number <= count:
                raise _Bad(f"{what}: it names line {number} of a batch of {count}")
            if not event.type:
                raise _Bad(f"{what}: the event of line {start + number} has no type")
            if event.line not in (0, number):
                raise _Bad(f"{what}: it has line {event.line} at byte {event.at}, where another line starts")
        return [
            LineEvent(number + start, e.type, e.data, access_point=e.access_point)
            for number, e in zip(numbers, events, strict=True)
        ]

    def _compare(self, found: list[LineEvent], wanted: list[LineEvent], what: str) -> None:
        if found == wanted:
            return
        for a, b in zip(found, wanted, strict=False):
            if a != b:
                self.violations.append(f"{what}: line {a.line} {a.type}, and whole: line {b.line} {b.type}")
                return
        more = (found if len(found) > len(wanted) else wanted)[min(len(found), len(wanted))]
        only = "which whole does not give" if len(found) > len(wanted) else "only when whole"
        self.violations.append(f"{what}: line {more.line} gives {more.type}, {only}")
