"""Rows that wait are looked at when they fall due, whatever became of the others."""

from __future__ import annotations

from pathlib import Path

from agent.pipelines.rows import Row
from tests.pipelines.story import Building
from tests.support import eventually


async def test_a_row_that_is_put_off_when_an_earlier_turn_is_over_is_not_forgotten(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch")
    router = b.nodes["porch"].p.router
    seen: list[int] = []
    router._route = lambda row: seen.append(row.n)  # type: ignore[method-assign]
    gone, other, late = (Row(n, None, "p", "v", "s") for n in (-1, -2, -3))  # type: ignore[arg-type]
    router.later(gone, 0.2)
    router._later.pop(gone.n)
    router.submit(other)  # wakes the loop, which then has nothing to wait for
    await eventually(lambda: other.n in seen)
    await eventually(lambda: router._next == float("inf"))
    router.later(late, 0.0)
    await eventually(lambda: late.n in seen)
    await b.stop()
