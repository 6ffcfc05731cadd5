"""Which second photos are looked at too early."""

from __future__ import annotations

from bench.arrivals import SETTLED, Look, early

WAITING = Look(10.0, 0.0, "a", "porch/left", 0)


def test_a_second_photo_before_a_waiting_first_one_is_early() -> None:
    second = Look(5.0, 0.0, "b", "porch/left", 1)
    assert early([WAITING, second]) == [second]


def test_second_photos_that_wait_or_come_before_are_not_early() -> None:
    after, before = Look(11.0, 0.0, "b", "porch/left", 1), Look(SETTLED / 2, 0.0, "b", "porch/left", 1)
    assert early([WAITING, after, before]) == []
