"""Durations and sizes as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import format_duration, format_size, parse_duration, parse_size
from agent.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("7d", 604800),
        (5, 5),
        ("1.5h", 5400),
        ("1h 30m", 5400),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("64MiB", 64 << 20), ("5GB", 5_000_000_000), ("512", 512), (7, 7), ("1.5 KiB", 1536), ("1G", 1 << 30), ("0B", 0)],
)
def test_sizes(text: object, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("value", ["", "s", "5 parsecs", "-5s", -1, True, None, [], "5m x", "5mm"])
def test_what_is_no_duration_is_refused_with_a_hint(value: object) -> None:
    with pytest.raises(ConfigError, match="not a duration") as caught:
        parse_duration(value)
    assert "30s" in caught.value.hint


@pytest.mark.parametrize("value", ["", "MiB", "5XB", "-5", -5, True, 1.5, None, "5 MiB x"])
def test_what_is_no_size_is_refused_with_a_hint(value: object) -> None:
    with pytest.raises(ConfigError, match="not a size"):
        parse_size(value)


ABSURD = ["9" * 400, "9" * 5000, 10**400, 10**5000, "9" * 400 + "d", "1000000w", "100000TB", 1e300, math.inf]


@pytest.mark.parametrize(
    "value",
    [*ABSURD, "1e999s", "-1e9s", "nan", "infs", "\u0663s", "\u0663", math.nan, -math.inf],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else f"{value.bit_length()} bits",
)
@pytest.mark.parametrize("parse", [parse_duration, parse_size])
def test_absurd_values_are_refused_in_few_words(parse: Callable[[object], float], value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(value)
    assert caught.value.hint
    assert len(caught.value.message) < 120


@given(st.integers(min_value=0, max_value=10**9))
def test_whole_seconds_survive_being_written(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=9999), st.sampled_from(["MiB", "GiB", "MB", "GB"]))
def test_round_sizes_survive_being_written(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    assert parse_size(format_size(size)) == size
