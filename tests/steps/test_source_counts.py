"""The counts of a source: lines, events by sender, and the time since anything was recognised or dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agent.clock import replaced_by
from agent.sources import Batch, Counters, Position, SenderCount
from agent.steps.source_counts import MAX_SENDERS, Tally


class Source:
    name, problem = "log", ""

    def __init__(self) -> None:
        self.counters = Counters()

    def senders(self) -> list[SenderCount]:
        return []

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        raise AssertionError("nothing is read")
        yield


class Day:
    def __init__(self) -> None:
        self.now = 1000.0
        self.source = Source()
        self.tally = Tally(self.source)

    def reads(self, lines: int, *senders: str) -> None:
        self.source.counters.lines += lines
        self.tally.heard()
        self.tally.found(list(senders))


@pytest.fixture
def day() -> Iterator[Day]:
    made = Day()
    with replaced_by(lambda: made.now):
        yield made


def test_a_log_that_says_nothing_yet_has_no_unrecognised_lines(day: Day) -> None:
    day.now += 1e6
    counts = day.tally.counts()
    assert (counts.lines, counts.unrecognised, counts.unrecognised_s, counts.last) == (0, 0, 0.0, 0.0)


def test_lines_without_an_event_are_counted_from_the_first(day: Day) -> None:
    day.reads(10)
    day.now += 100
    day.reads(5)
    counts = day.tally.counts()
    assert (counts.lines, counts.events, counts.unrecognised, counts.unrecognised_s) == (15, 0, 15, 100.0)


def test_an_event_ends_the_count_of_unrecognised_lines(day: Day) -> None:
    day.reads(10)
    day.now += 100
    day.reads(5, "")
    day.now += 1e6
    assert day.tally.counts().unrecognised_s == 0.0
    day.reads(2)
    day.now += 7
    counts = day.tally.counts()
    assert (counts.events, counts.unrecognised, counts.unrecognised_s) == (1, 2, 7.0)
    assert counts.last_event == pytest.approx(counts.last, abs=5)


def test_events_are_counted_by_sender(day: Day) -> None:
    day.reads(5, "192.0.2.1", "192.0.2.2", "192.0.2.1")
    found = day.tally.counts().found
    assert {address: f.events for address, f in found.items()} == {"192.0.2.1": 2, "192.0.2.2": 1}


def test_senders_with_the_oldest_events_are_forgotten_first(day: Day) -> None:
    day.reads(5, "first")
    day.reads(5, *(f"s{i}" for i in range(MAX_SENDERS)))
    found = day.tally.counts().found
    assert len(found) == MAX_SENDERS
    assert "first" not in found
    assert day.tally.counts().events == MAX_SENDERS + 1


def test_the_time_of_the_last_dropped_line_is_known(day: Day) -> None:
    day.source.counters.drop("rate", 3)
    assert day.tally.counts().dropped_s == 0.0
    day.now += 60
    counts = day.tally.counts()
    assert (counts.dropped, counts.dropped_s) == ({"rate": 3}, 60.0)
    day.source.counters.drop("malformed")
    assert day.tally.counts().dropped_s == 0.0
