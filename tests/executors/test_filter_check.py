"""filter check: its report on a good filter and on each way to break the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.errors import StepFailed
from agent.executors.filter_check import BATCH, LARGE, check_filter
from agent.model.task import FilterRunner, LineEvent, StepLog

LINES = b"".join(b"line %d\n" % i for i in range(50))


class Scripted:
    """A filter that is a Python function of the batch's lines."""

    def __init__(self, function: Callable[[list[bytes]], list[LineEvent]]) -> None:
        self.function = function
        self.sizes: list[int] = []

    async def feed(self, lines: bytes, log: StepLog) -> list[LineEvent]:
        self.sizes.append(len(lines))
        return self.function(lines.split(b"\n")[: -1 if lines.endswith(b"\n") else None])

    async def close(self) -> None: ...


def honest(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(n, "t", {"text": line.decode()}) for n, line in enumerate(lines, 1) if line.endswith(b"7")]


async def test_a_filter_may_name_places_instead_of_lines() -> None:
    def places(lines: list[bytes]) -> list[LineEvent]:
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        return [LineEvent(type="t", at=starts[e.line - 1]) for e in honest(lines)]

    assert (await check_filter(Scripted(places), LINES * 20)).ok


async def test_wifi_join_keeps_the_contract(open_filter: Callable[[str], FilterRunner]) -> None:
    lines = Path(__file__).parents[1] / "filters" / "lines.jsonl"
    data = b"".join(msgspec.json.decode(x)["line"].encode() + b"\n" for x in lines.read_bytes().splitlines())
    report = await check_filter(open_filter("wifi-join"), data)
    assert report.ok
    assert report.violations == []
    assert report.events == sum(report.types.values()) > 50
    assert (report.rounds, report.single) == (8, report.lines)
    assert msgspec.json.decode(msgspec.json.encode(report))["ok"] is True


async def test_an_honest_filter_passes_with_batches_of_all_sizes() -> None:
    runner = Scripted(honest)
    report = await check_filter(runner, LINES * 10_000)
    assert report.ok
    assert report.lines == 500_000
    assert sorted(runner.sizes)[-1] <= LARGE
    assert [size > BATCH for size in sorted(runner.sizes)[-2:]] == [False, True]


async def test_a_filter_that_loses_the_end_of_a_large_batch_fails() -> None:
    def forgets(lines: list[bytes]) -> list[LineEvent]:
        return [e for e in honest(lines) if e.line <= 150_000]

    report = await check_filter(Scripted(forgets), LINES * 5000, rounds=0)
    assert len(report.violations) == 1
    assert "the first 250000 lines at once: line 150008 gives t, only when whole" in report.violations[0]


async def test_no_lines_at_all_are_fine() -> None:
    assert (await check_filter(Scripted(honest), b"")).ok


async def test_a_carriage_return_does_not_make_a_line() -> None:
    report = await check_filter(Scripted(honest), b"a\rb 7\r\nc 7\n\n")
    assert report.ok
    assert (report.lines, report.events) == (3, 1)


def remembers(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(n, "t") for n in range(1, len(lines) + 1) if n % 3 == 0]


def from_zero(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(n, "t") for n in range(len(lines))]


def untyped(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(1, "")]


def backwards(lines: list[bytes]) -> list[LineEvent]:
    return honest(lines)[::-1]


def misplaced(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(2, "t", at=0)]


def needs_newline(lines: list[bytes]) -> list[LineEvent]:
    return [LineEvent(1, "t")] if len(lines) == 50 and lines[-1] == b"line 49" else []


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (remembers, "line"),
        (from_zero, "names line 0 of a batch of 50"),
        (untyped, "has no type"),
        (misplaced, "line 2 at byte 0, where another line starts"),
        (backwards, "not in the order"),
        (needs_newline, "cut before"),
    ],
)
async def test_each_violation_is_named(function: Callable[[list[bytes]], list[LineEvent]], says: str) -> None:
    report = await check_filter(Scripted(function), LINES)
    assert not report.ok
    assert says in report.violations[0]


async def test_a_filter_that_says_something_else_each_time_is_caught() -> None:
    count = 0

    def fickle(lines: list[bytes]) -> list[LineEvent]:
        nonlocal count
        count += 1
        return [LineEvent(1, f"t{count}")]

    assert (await check_filter(Scripted(fickle), LINES)).violations == [
        "the same input gave other events the second time"
    ]


async def test_a_run_that_fails_is_a_violation_and_no_exception() -> None:
    def dies(lines: list[bytes]) -> list[LineEvent]:
        raise StepFailed("it trapped")

    report = await check_filter(Scripted(dies), LINES)
    assert report.violations == ["whole, from line 1 on: it trapped"]
