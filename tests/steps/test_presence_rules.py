"""Properties of the rules of presence, for every order of signs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.steps import access_points
from agent.steps.access_points import AccessPoints, restored, stored
from agent.steps.presence_rules import HELD, HOUR, LATE, Around, Place, Seen, Sign, judge
from agent.steps.roll_calls import RollCalls

AWAY = 1800.0
PLACES = [Place(s, s, i, "n") for s in ("ap1", "ap2") for i in ("wlan0", "wlan1")]
steps = st.lists(
    st.tuples(st.sampled_from(["joined", "left", "roamed", "active"]), st.floats(0, 2 * HELD), st.sampled_from(PLACES)),
    max_size=12,
)


def told(signs: list[tuple[str, float, Place]], *, known: bool = False) -> list[tuple[Seen | None, Sign, Seen, bool]]:
    """Each sign with the records before and after it, and whether it is an arrival."""
    at, seen, made = 0.0, None, []
    for number, (kind, pause, place) in enumerate(signs):
        at += pause
        sign = Sign(kind, at, place, f"e{number}", "t")  # type: ignore[arg-type]
        after, arrived, _ = judge(seen, sign, Around(AWAY, known, RollCalls()))
        made.append((seen, sign, after, arrived))
        seen = after
    return made


@settings(max_examples=300)
@given(steps, st.booleans())
def test_rules_hold_for_every_order_of_signs(signs: list[tuple[str, float, Place]], known: bool) -> None:
    announced = False
    for before, sign, after, arrived in told(signs, known=known):
        assert not (arrived and sign.kind == "left")
        if arrived and before is not None and before.announced:
            assert sign.at - before.at > AWAY
        if not announced and sign.kind != "left":
            assert arrived  # nobody is missed who was never met
        announced |= arrived
        if sign.kind != "left":
            assert after.present
            assert after.place == sign.place
        assert after.at <= sign.at
        assert after.first_seen == "t"
        again = judge(after, sign, Around(AWAY, known, RollCalls()))
        assert again.arrived == arrived  # a repeated event gets the same answer
        if before is not None and before.present and known and sign.kind == "joined" and before.announced:
            assert not arrived  # silence alone announces no known device


@given(steps, st.floats(LATE + 1, 1e6))
def test_older_lines_change_nothing(signs: list[tuple[str, float, Place]], ago: float) -> None:
    for _, sign, after, _ in told(signs):
        for kind in ("joined", "left", "roamed", "active"):
            old = Sign(kind, after.at - ago, sign.place, "old", "t")  # type: ignore[arg-type]
            assert judge(after, old, Around(AWAY, False, RollCalls())) == (after, False, False)


answers = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 900)), max_size=60)


@given(answers, st.none() | st.integers(0, 9000))
def test_calls_survive_their_record(heard: list[tuple[str, int]], restart: int | None) -> None:
    calls, at = RollCalls(), 0.0
    for mac, pause in heard:
        at += pause
        calls.heard(mac, at)
    if restart is not None:
        calls.restart(at + restart)
    record = stored("place a|b|c", calls)
    again = restored(record.at, record.value)
    assert (again.shown, again.before, again.restarted) == (calls.shown, calls.before, calls.restarted)
    assert all(len(k) + len(v) <= 256 for k, v in record.value.items())


@given(st.dictionaries(st.sampled_from(["shown", "before", "restarted"]), st.text("0123456789:. ax-\0", max_size=40)))
def test_damaged_records_of_other_nodes_are_taken_as_empty(value: dict[str, str]) -> None:
    points = AccessPoints()
    points.load("place a|b|c", 5.0, value)
    points.load("ap a|b", 5.0, value)
    assert points.restarted(Place("a", "b", "c")) == 5.0


@pytest.mark.parametrize("seed", range(3))
def test_signs_at_random_moments_are_no_calls(seed: int) -> None:
    rng, calls = random.Random(seed), RollCalls()
    signs = [(rng.uniform(0, 24 * HOUR), f"{device}") for device in range(10) for _ in range(24 * 12)]
    for at, mac in sorted(signs):
        calls.heard(mac, at)
        assert not calls.absent(at - 2 * HOUR, at, AWAY)


def test_names_of_access_points_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_points, "MOST", 50)
    points = AccessPoints()
    for i in range(200):
        place = Place("10.0.0.1", f"name{i}", "wlan0", "n")
        seen = Seen(at=1.0 * i, present=True, place=place, first_seen="", last_seen="")
        points.notice("02:00:00:00:00:01", Sign("joined", i + 20.0, place, "e", "t"), seen)
        points.restart(place, i + 21.0)
        for key in points.keys(place):
            points.load(f"{key}x", 1.0 * i, {})
    assert points.restarted(place) == 220.0
    assert points.again(place) == 1
    assert {len(table) for table in vars(points).values()} == {50}
