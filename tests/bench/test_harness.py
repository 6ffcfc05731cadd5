"""The benchmarks' harness: what it makes of figures, good, bad and missing."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import msgspec
import pytest

from bench import report
from bench.__main__ import BENCHMARKS
from bench.figure import Figure, Missing, Result, percentile, spread


def figure(value: float, goal: float, sense: str) -> Figure:
    raw = {
        "name": "hop",
        "what": "a hop",
        "figure": value,
        "goal": goal,
        "unit": "ms",
        "sense": sense,
        "bound_by": "fsync",
    }
    return msgspec.convert(raw, Figure)


@pytest.mark.parametrize(
    ("value", "goal", "sense", "ratio", "reached"),
    [
        (10.0, 5.0, "at least", 2.0, True),
        (5.0, 5.0, "at least", 1.0, True),
        (4.0, 5.0, "at least", 0.8, False),
        (4.0, 5.0, "at most", 1.25, True),
        (10.0, 5.0, "at most", 0.5, False),
        (0.0, 5.0, "at least", 0.0, False),
    ],
)
def test_a_ratio_of_one_is_reached_in_either_direction(
    value: float, goal: float, sense: str, ratio: float, reached: bool
) -> None:
    made = figure(value, goal, sense)
    assert made.ratio == pytest.approx(ratio)
    assert made.reached is reached


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 50) == 50.0
    assert percentile(values, 99) == 99.0
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError):
        percentile([], 50)
    assert spread(values)["max"] == 100.0


def results() -> list[Result]:
    good, bad = figure(2.0, 3.0, "at most"), figure(9.0, 3.0, "at most")
    return [
        Result(benchmark="hop", seconds=1.0, load=(0.1, 0.2), figures=[good, bad]),
        Result(benchmark="blob", seconds=1.0, load=(0.1, 0.2), missing=[Missing(name="blob", why="no room")]),
    ]


def test_the_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "out" / "latest.json"
    assert report.read(file) == []
    report.write(file, results())
    assert report.read(file) == results()
    rows = msgspec.json.decode(file.read_bytes())["results"][0]["figures"]
    assert [r["reached"] for r in rows] == [True, False]
    assert rows[0]["ratio"] == 1.5


def test_a_damaged_report_is_no_report(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"
    file.write_text('{"results": 3}')
    assert report.read(file) == []


def test_the_table_names_missed_and_unmeasured_figures() -> None:
    text = report.table(results())
    assert text.count("reached") == 1
    assert text.count("MISSED") == 1
    assert "blob: not measured: no room" in text


def test_publishing_replaces_the_table_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.publish(page, results())
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| a hop | 2 ms | ≤ 3 | 1.50 | reached |" in text
    report.publish(page, results())
    assert page.read_text() == text
    page.write_text("nothing")
    with pytest.raises(ValueError):
        report.publish(page, results())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_how_it_measures_and_can_be_called(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert module.__doc__
    assert "quick" in inspect.signature(module.measure).parameters
