"""Times as the agent stores, sends and logs them."""

from __future__ import annotations

import pytest

from agent.model.event import rfc3339


@pytest.mark.parametrize(
    ("unix", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1234567, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:20.999Z"),
        (-1.0, "1969-12-31T23:59:59.000Z"),
    ],
)
def test_a_time_is_utc_with_milliseconds(unix: float, text: str) -> None:
    assert rfc3339(unix) == text
