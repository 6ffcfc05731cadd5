"""How the sink runs its parts again after they failed."""

from __future__ import annotations

from cloud_sink.server import _supervised


async def test_a_part_that_ran_well_is_started_again_at_once_when_it_fails() -> None:
    lives = [0.0, 0.0, 0.0, 61.0, 0.0]
    pauses: list[float] = []
    time = 0.0

    async def part() -> None:
        nonlocal time
        if lives:
            time += lives.pop(0)
            raise RuntimeError("broken")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await _supervised("part", part, lambda: time, sleep)
    assert pauses == [1, 2, 4, 1, 2]
