"""What an alert may say, and how it is shown."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cloud_sink.incidents import incident_of
from cloud_sink.store.models import Alert
from tests.sink.running import unsigned


def stored(time: str = "", **data: Any) -> Alert:
    """A row as the store keeps it."""
    event = msgspec.json.decode(unsigned("m", "n", photo=b"", **data).event.encode())
    event["time"] = time or event["time"]
    return Alert(
        seq=1, mesh="m", event_id=event["id"], root="r", node="n", camera="porch", received=1_790_000_000_000,
        size=1, via="https", event=event, trace=[], photos=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    "time",
    [
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+12:00",
        "yesterday",
    ],
)
def test_a_time_that_no_clock_shows_is_shown_as_some_time(time: str) -> None:
    assert incident_of([stored(time)], "").day_name


def test_a_time_that_cannot_be_told_here_is_that_of_the_arrival() -> None:
    assert incident_of([stored("9999-12-31T23:59:59-12:00")], "").day.startswith("2026-09-")
