"""Alerts with odd content, and their presentation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cloud_sink.incidents import MAX_INDENTED, incident_of
from cloud_sink.store.models import Alert
from tests.sink.running import unsigned


def stored(time: str = "", **data: Any) -> Alert:
    """A row of the store."""
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
def test_impossible_time_does_not_break_the_page(time: str) -> None:
    assert incident_of([stored(time)], "").day_name


def test_unrepresentable_time_is_replaced_by_the_arrival_time() -> None:
    assert incident_of([stored("9999-12-31T23:59:59-12:00")], "").day.startswith("2026-09-")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_event_is_formatted_only_for_its_own_page(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    monkeypatch.setattr(msgspec.json, "format", lambda text, indent: calls.append(text) or text)
    card = incident_of([stored()], "")
    assert not calls
    assert '"id"' in card.alerts[0]["json"]()
    assert calls


def test_a_usual_event_is_indented() -> None:
    assert '\n  "data": {\n    "' in incident_of([stored(deep=nested(10))], "").alerts[0]["json"]()


@pytest.mark.parametrize("data", [nested(300), [{"a": [[[[[[[[0]]]]]]]]}] * 3000])
def test_event_is_not_indented_if_that_makes_it_huge(data: list[Any]) -> None:
    text = incident_of([stored(data=data)], "").alerts[0]["json"]()
    assert "\n" not in text
    assert len(text) < MAX_INDENTED


@pytest.mark.parametrize(
    ("number", "title"),
    [
        (0, "Person"),
        (1, "Person at c0"),
        (2, "Person at c0 and c1"),
        (5, "Person at c0, c1, c2, c3 and c4"),
        (6, "Person at c0, c1, c2, c3 and more cameras"),
    ],
)
def test_a_title_names_a_few_cameras(number: int, title: str) -> None:
    alerts = [stored() for _ in range(number or 1)]
    for n, alert in enumerate(alerts):
        alert.camera = f"c{n}" if number else ""
    assert incident_of(alerts, "").title == title
