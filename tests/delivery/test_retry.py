"""Which answers of a node move a row, and which leave it with the node that holds it."""

from __future__ import annotations

import pytest

from agent.clock import boottime
from agent.delivery.changes import Changes
from agent.delivery.lifecycle import Lifecycle
from agent.delivery.retry import LOST_AFTER, After
from agent.delivery.rows import Row, State
from agent.model.pipeline import Step
from tests.delivery.driver import Driven
from tests.delivery.events import event

STEP = Step(name="detect", kind="docker", task={"image": "x"}, attempts=3)


@pytest.fixture
def life(journal: Driven) -> Lifecycle:
    return Lifecycle(journal, "here", lambda *_: None)


def asked_again(journal: Driven, life: Lifecycle, *, left: float) -> Row:
    """A row that another node holds and that is being delivered to it once more, `left` seconds before its deadline."""
    row = journal.new(
        event("e"), "p", "v", "detect", state=State.PLACED, target="there", deadline=boottime() + left, decided=True
    )
    life.accepted([row])
    life.probed(row)
    assert row.state is State.SENDING
    return row


@pytest.mark.parametrize("left", [60.0, -1.0])
@pytest.mark.parametrize("avoid", [True, False])
async def test_a_holder_that_does_not_answer_keeps_the_row(
    journal: Driven, life: Lifecycle, left: float, avoid: bool
) -> None:
    row = asked_again(journal, life, left=left)
    life.put_back(row, 0.3, avoid=avoid, changes=Changes(), answered=False)
    assert (row.state, row.target, row.avoid) == (State.PLACED, "there", ())


@pytest.mark.parametrize(
    ("left", "avoid", "state"),
    [
        (60.0, False, State.WAITING),
        (-1.0, False, State.PLACED),
        (-1.0, True, State.WAITING),
        (-LOST_AFTER - 1.0, False, State.WAITING),
    ],
    ids=["before the deadline", "after it", "refused for good", "long after it"],
)
async def test_a_refusal_for_now_ends_no_row_that_may_be_there(
    journal: Driven, life: Lifecycle, left: float, avoid: bool, state: State
) -> None:
    row = asked_again(journal, life, left=left)
    life.put_back(row, 0.3, avoid=avoid, changes=Changes())
    assert row.state is state


async def test_a_node_that_never_had_the_row_does_not_keep_it(journal: Driven, life: Lifecycle) -> None:
    row = asked_again(journal, life, left=60.0)
    life.put_back(row, 0.3, avoid=False, changes=Changes())
    life.routed(row, "elsewhere")
    life.put_back(row, 0.3, avoid=False, changes=Changes(), answered=False)
    assert row.state is State.WAITING


async def test_a_failure_that_is_reported_twice_counts_once(journal: Driven, life: Lifecycle) -> None:
    row = asked_again(journal, life, left=60.0)
    failed = After(final=False, free=False, attempts=0)
    for _ in range(2):
        life.reported(row, "failed", "boom", closed=False, matched=False, after=failed, step=STEP)
        life.routed(row, "there")
        assert row.attempts == 1
    life.reported(row, "failed", "boom", closed=False, matched=False, after=failed._replace(attempts=1), step=STEP)
    assert (row.attempts, row.state) == (2, State.WAITING)


async def test_a_node_that_does_not_say_the_attempts_is_believed(journal: Driven, life: Lifecycle) -> None:
    row = asked_again(journal, life, left=60.0)
    for n in (1, 2):
        life.reported(row, "failed", "", closed=False, matched=False, after=After(False, False), step=STEP)
        assert row.attempts == n
        life.routed(row, "there")


async def test_a_row_that_stays_placed_lets_its_parent_end(journal: Driven, life: Lifecycle) -> None:
    parent = journal.new(event("p"), "p", "v", "wifi", state=State.QUEUED, target="here", deadline=boottime() + 60.0)
    life.accepted([parent])
    outputs = [
        journal.new(
            event(n), "p", "v", "detect", parent=parent.n, target="there", deadline=boottime() + 60.0, decided=True
        )
        for n in ("a", "b")
    ]
    life.ran(parent, outputs, "wifi", "here", 0.0)
    for row in outputs:
        life.routed(row, "there")
    life.placed([outputs[0]])
    life.probed(outputs[0])
    life.placed([outputs[1]])
    assert parent.state is State.RAN
    life.put_back(outputs[0], 0.3, avoid=False, changes=Changes(), answered=False)
    assert (outputs[0].state, parent.end) == (State.PLACED, "delivered")


async def test_a_row_that_is_delivered_again_knows_the_attempts(journal: Driven, life: Lifecycle) -> None:
    row = journal.new(event("e"), "p", "v", "detect", state=State.QUEUED, target="here", deadline=boottime() + 60.0)
    life.accepted([row])
    life.delivered_again(row, "there", 1, Changes())
    assert (row.state, row.attempts) == (State.QUEUED, 1)
    life.delivered_again(row, "there", 0, Changes())
    assert row.attempts == 1
