"""One decider for each key: the first event stays first, through losses, returns and repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import clock as clocks
from agent.delivery import deciders as module
from agent.delivery.deciders import KeyedLocks
from agent.delivery.decisions import Decision, inward, merge, outward
from agent.delivery.wire import Question, Record
from agent.errors import Refused, Unreachable
from tests.delivery.deciding import Clock, Council
from tests.doubles.memory import Peer

NAMES = ("a", "b", "c", "d", "e")
SCOPE, KEY = "cooldown:p/alert", '["r"]'


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def council(tmp_path: Path, clock: Clock) -> Any:
    made = Council(tmp_path, clock)
    made.start(*NAMES)
    yield made
    made.close()


async def first(c: Council, node: str, event: str, *, key: str = KEY, seconds: float = 300.0) -> bool:
    c.clock.now += 0.01
    return await c.deciders[node].first(SCOPE, key, event, seconds)


async def test_one_event_is_first_and_stays_it_however_often_it_asks(council: Council) -> None:
    assert await first(council, "a", "e1")
    for node in NAMES:
        assert not await first(council, node, "e2")
        assert await first(council, node, "e1")


async def test_keys_and_scopes_do_not_touch_each_other(council: Council) -> None:
    assert await first(council, "a", "e1")
    assert await first(council, "a", "e2", key='["other"]')
    assert await council.deciders["a"].first("cooldown:p/other", KEY, "e3", 300.0)


async def test_of_many_at_once_exactly_one_is_first(council: Council) -> None:
    said = await asyncio.gather(*(first(council, n, f"e{i}") for i in range(20) for n in NAMES))
    assert sum(said) == len(NAMES)  # the one event, as often as it asked


async def test_a_window_ends_and_the_next_event_is_first(council: Council, clock: Clock) -> None:
    assert await first(council, "a", "e1")
    clock.now += 299
    assert not await first(council, "b", "e2")
    clock.now += 2
    assert await first(council, "b", "e2")
    assert not await first(council, "a", "e1")


async def test_the_death_of_the_decider_lets_no_repeat_through(council: Council) -> None:
    assert await first(council, "a", "e1")
    council.stop(council.ranked(SCOPE, KEY)[0], disk=False)
    asker = next(iter(council.deciders))
    assert not await first(council, asker, "e2")
    assert await first(council, asker, "e1")


async def test_loss_of_decider_and_witness_lets_no_repeat_through(council: Council) -> None:
    assert await first(council, "a", "e1")
    for name in council.ranked(SCOPE, KEY)[:2]:
        council.stop(name, disk=False)
    assert not await first(council, next(iter(council.deciders)), "e2")


async def test_a_decider_without_its_records_asks_its_witnesses(council: Council) -> None:
    assert await first(council, "a", "e1")
    decider = council.ranked(SCOPE, KEY)[0]
    council.stop(decider, disk=False)
    council.start(decider)
    assert not council.deciders[decider].records
    assert not await first(council, decider, "e2")
    assert await first(council, decider, "e1")


async def test_a_decider_that_restarts_reads_its_records_even_alone(council: Council) -> None:
    assert await first(council, "a", "e1")
    decider = council.ranked(SCOPE, KEY)[0]
    for name in NAMES:
        council.stop(name)
    council.start(decider)
    assert not await first(council, decider, "e2")
    assert await first(council, decider, "e1")


async def test_decisions_made_while_the_decider_was_away_count(council: Council) -> None:
    decider = council.ranked(SCOPE, KEY)[0]
    council.stop(decider)
    assert await first(council, next(iter(council.deciders)), "e1")
    council.start(decider)
    assert not await first(council, decider, "e2")


async def test_the_older_decision_counts_when_two_halves_meet(council: Council, clock: Clock) -> None:
    one, other = council.ranked(SCOPE, KEY)[:2], council.ranked(SCOPE, KEY)[2:]
    council.cut(*one)
    assert await first(council, other[0], "older")
    clock.now += 10
    assert await first(council, one[0], "newer")  # each half decides alone
    assert not await first(council, other[1], "newer")
    council.net.cut.clear()
    assert not await first(council, one[0], "third")
    assert not await first(council, other[0], "fourth")


@pytest.mark.parametrize("answers", ["newer", "between"])
async def test_an_older_decision_told_meanwhile_counts(council: Council, answers: str) -> None:
    decider, witness, other = council.ranked(SCOPE, KEY)[:3]

    async def tell(peer: Peer, body: bytes) -> bytes:
        older = msgspec.msgpack.encode(Record(SCOPE, KEY, "older", 10.0, 200.0))
        await council.net.nodes[other].call(decider, "pipeline.remember", older)
        return msgspec.msgpack.encode(Record(SCOPE, KEY, answers, 0.0 if answers == "newer" else 5.0, 200.0))

    council.net.nodes[witness].serve("pipeline.remember", tell)
    d = council.deciders[decider]
    for event in ("newer", "third"):
        assert await d.decide(Question(SCOPE, KEY, event, 300.0)) == "older"
    assert d.journal.query("SELECT first FROM decision") == [("older",)]


async def test_one_node_alone_decides(tmp_path: Path, clock: Clock) -> None:
    c = Council(tmp_path, clock)
    c.start("a")
    assert await first(c, "a", "e1")
    assert not await first(c, "a", "e2")
    c.close()


async def test_when_nobody_answers_it_is_said_and_may_be_asked_again(council: Council) -> None:
    ranked = council.ranked(SCOPE, KEY)
    asker = ranked[-1]
    for name in ranked[:4]:
        council.net.nodes[name].handlers.pop("pipeline.decide")

        async def down(peer: Any, body: bytes) -> bytes:
            raise Unreachable("it hangs")

        council.net.nodes[name].serve("pipeline.decide", down)
    with pytest.raises(Unreachable, match="no decider of this key is reachable"):
        await first(council, asker, "e1")


async def test_a_decision_is_on_three_disks_before_it_is_told(council: Council) -> None:
    assert await first(council, "a", "e1")
    for name in council.ranked(SCOPE, KEY)[:3]:
        rows = council.deciders[name].journal.query("SELECT first FROM decision")
        assert rows == [("e1",)], name
    for name in council.ranked(SCOPE, KEY)[3:]:
        assert not council.deciders[name].records


async def test_ended_records_go_from_memory_and_disk(council: Council, clock: Clock) -> None:
    decider = council.ranked(SCOPE, KEY)[0]
    assert await first(council, decider, "e1", seconds=10)
    clock.now += 11
    d = council.deciders[decider]
    d.sweep()
    await d.journal.commit()
    assert not d.records
    assert d.journal.query("SELECT * FROM decision") == []


async def test_too_many_records_lose_those_that_end_first(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 100)
    c = Council(tmp_path, clock)
    c.start("a")
    for i in range(150):
        await first(c, "a", f"e{i}", key=f"k{i}", seconds=1000 + i)
    d = c.deciders["a"]
    assert 90 <= len(d.records) <= 100
    assert (SCOPE, "k149") in d.records
    assert (SCOPE, "k0") not in d.records
    await d.journal.commit()
    assert d.journal.query("SELECT count(*) FROM decision") == [(len(d.records),)]
    c.close()


BAD = [
    ("pipeline.decide", b"\xc1"),
    ("pipeline.decide", msgspec.msgpack.encode(Question(SCOPE, "k" * 5000, "e", 1.0))),
    ("pipeline.decide", msgspec.msgpack.encode(Question("s" * 600, KEY, "e", 1.0))),
    ("pipeline.decide", msgspec.msgpack.encode(Question(SCOPE, KEY, "e" * 1000, 1.0))),
    *(
        ("pipeline.decide", msgspec.msgpack.encode(Question(SCOPE, KEY, "e", s)))
        for s in (float("nan"), float("inf"), -1.0)
    ),
    ("pipeline.remember", b""),
    ("pipeline.remember", msgspec.msgpack.encode(Record(SCOPE, KEY, "e", float("nan"), 10.0))),
    ("pipeline.remember", msgspec.msgpack.encode(Record(SCOPE, KEY, "e", 0.0, float("inf")))),
    ("pipeline.remember", msgspec.msgpack.encode(Record(SCOPE, "k" * 5000, "e", 0.0, 10.0))),
    ("pipeline.remember", msgspec.msgpack.encode(Record(SCOPE, KEY, "e", 0.0, 10.0, False, {"x": "y" * 100_000}))),
]


@pytest.mark.parametrize(("verb", "body"), BAD)
async def test_a_malformed_question_or_record_is_refused(council: Council, verb: str, body: bytes) -> None:
    with pytest.raises(Refused):
        await council.net.nodes["a"].call("b", verb, body)
    await council.deciders["b"].journal.commit()
    assert not council.deciders["b"].records
    assert await first(council, "a", "e1")


async def test_a_node_outside_the_ranking_can_plant_no_record(tmp_path: Path, clock: Clock) -> None:
    c = Council(tmp_path, clock)
    c.start(*(f"n{i}" for i in range(12)))
    ranked = c.ranked(SCOPE, KEY)
    body = msgspec.msgpack.encode(Record(SCOPE, KEY, "mine", 1e5, 300.0))
    with pytest.raises(Refused, match="does not decide"):
        await c.net.nodes[ranked[-1]].call(ranked[0], "pipeline.remember", body)
    assert await c.deciders[ranked[0]].first(SCOPE, KEY, "e1", 300.0)
    c.close()


async def test_a_witness_s_nonsense_is_no_answer(council: Council) -> None:
    decider, witness = council.ranked(SCOPE, KEY)[:2]
    for answer in (b"\xc1", msgspec.msgpack.encode(Record(SCOPE, KEY, "x", float("nan"), 1e9)),
                   msgspec.msgpack.encode(Record(SCOPE, "another", "x", 1e5, 100.0))):  # fmt: skip

        async def lie(peer: Peer, body: bytes, answer: bytes = answer) -> bytes:
            return answer

        council.net.nodes[witness].serve("pipeline.remember", lie)
        key = f"k{len(answer)}"
        council.deciders[decider].records.clear()
        assert await council.deciders[decider].decide(Question(SCOPE, KEY, key, 300.0)) == key


# -- the parts --------------------------------------------------------------------------------------------------------


async def test_locks_are_held_in_turn_and_forgotten_when_unused() -> None:
    locks, inside, most = KeyedLocks(), 0, 0

    async def use() -> None:
        nonlocal inside, most
        async with locks.hold("k"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(use() for _ in range(50)))
    assert most == 1
    assert not locks._locks


records = st.builds(
    Decision,
    scope=st.sampled_from(["cooldown:p/s", "presence:p/s"]),
    key=st.just("k"),
    first=st.sampled_from(["e1", "e2", "e3"]),
    at=st.floats(0, 2e6),
    until=st.floats(0, 2e6),
    present=st.just(False),
    value=st.just({}),
)


@pytest.fixture(scope="module", autouse=True)
def still() -> Iterator[None]:
    """Without a test's own clock the module's would move between two calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "_read", lambda: 1e6)
        yield


@settings(max_examples=100)
@given(records, records)
def test_merging_gives_both_sides_the_same_first_event(a: Decision, b: Decision) -> None:
    b = b._replace(scope=a.scope)
    one, other = merge(a, b), merge(b, a)
    assert one in (a, b)
    if a.at != b.at:
        assert one.first == other.first or (one.until <= 1e6 and other.until <= 1e6)


@settings(max_examples=100)
@given(records)
def test_a_record_travels_as_durations(r: Decision) -> None:
    sent = outward(r)
    with pytest.MonkeyPatch.context() as patch:  # the other node's clock counts from another start
        patch.setattr(clocks, "_read", lambda: 5e5)
        there = inward(msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Record))
    assert (there.first, there.present, there.value) == (r.first, r.present, r.value)
    assert there.at == pytest.approx(r.at - 5e5, abs=1e-3)
    assert there.until == pytest.approx(r.until - 5e5, abs=1e-3)
