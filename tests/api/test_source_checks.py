"""The words of `doctor` about a log."""

from __future__ import annotations

import pytest

from agent.api.resources.status import offset_in_words, source_check
from agent.sources import SenderCount
from agent.steps import SourceCounts


class Runner:
    problem = hint = ""
    name = "/var/log/ap"

    def __init__(self, counts: SourceCounts) -> None:
        self._counts = counts

    def counts(self) -> SourceCounts:
        return self._counts

    def senders(self) -> list[SenderCount]:
        return []

    async def run(self) -> None: ...


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "right"), (-3.0, "right"), (10.0, "10 s ahead of"), (-3600.0, "1 h behind"), (3600 * 26 + 61, "1 d 2 h 1 min ahead of"),
    ],
)  # fmt: skip
def test_the_offset_of_a_clock_is_said_in_words(seconds: float, words: str) -> None:
    assert offset_in_words(seconds).startswith(words)


def test_a_log_is_told_with_its_counts_and_its_clock() -> None:
    counts = SourceCounts(lines=12, events=3, last=1.0, clock_s=-7200.0, dropped={"rate": 4}, unread=5)
    found = source_check("wifi /var/log/ap", Runner(counts))
    assert (found.check, found.state) == ("log wifi /var/log/ap", "ok")
    for words in ("12 lines, 3 events", "its clock is 2 h behind", "4 dropped (rate)", "5 bytes rotated away unread"):
        assert words in found.text


def test_a_log_without_lines_says_so() -> None:
    assert "no line since the start" in source_check("x", Runner(SourceCounts())).text
