"""A program's output as log lines: whatever the pieces, the same lines, and work that grows with the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.executors.log_lines import MAX_LINE, LogLines, NoLog
from tests.executors.conftest import Lines


@pytest.mark.timeout(20)
def test_a_huge_line_takes_time_in_proportion() -> None:
    """Where each cut copies the rest, 64 MiB take minutes."""
    lines = LogLines(NoLog(), "stderr")
    lines.feed(b"x" * (64 << 20))
    lines.flush()


@given(st.lists(st.integers(0, 3 * MAX_LINE).map(lambda n: b"x" * n) | st.just(b"\n"), max_size=8))
def test_no_byte_is_lost_and_no_line_is_too_long(pieces: list[bytes]) -> None:
    log = Lines()
    lines = LogLines(log, "stderr")
    for piece in pieces:
        lines.feed(piece)
    lines.flush()
    assert "".join(log) == b"".join(pieces).decode().replace("\n", "")
    assert all(len(line) <= MAX_LINE for line in log)
