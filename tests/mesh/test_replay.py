from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.mesh.boot import BOOT, next_boot
from agent.mesh.replay import WINDOW, ReplayGuard, ReplayWindow


@given(st.lists(st.integers(-3, 3 * WINDOW), max_size=200))
def test_a_window_accepts_each_new_counter_exactly_once(counters: list[int]) -> None:
    window, seen, highest = ReplayWindow(), set[int](), -1
    for counter in counters:
        fresh = counter >= 0 and counter not in seen and counter > highest - WINDOW
        assert window.accept(counter) == fresh
        if fresh:
            seen.add(counter)
            highest = max(highest, counter)


def test_an_older_boot_of_a_sender_can_only_be_a_replay() -> None:
    guard = ReplayGuard()
    assert guard.accept("a", "2-x", 1)
    assert not guard.accept("a", "2-x", 1)
    assert guard.accept("b", "1-x", 1)
    assert not guard.accept("a", "1-y", 7)
    assert guard.accept("a", "3-z", 1)
    assert not guard.accept("a", "2-x", 2)


def test_boot_epochs_rise_whatever_the_clock_does(tmp_path: Path) -> None:
    (tmp_path / "boot").write_bytes(b"ffff00000000")  # a clock that was once far ahead
    first, second = next_boot(tmp_path), next_boot(tmp_path)
    assert BOOT.match(first)
    assert first.startswith("ffff00000001-")
    assert second > first
    (tmp_path / "boot").write_bytes(b"garbage")
    assert BOOT.match(next_boot(tmp_path))
