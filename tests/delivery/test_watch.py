"""The watch itself: each kind of fault, put into a town by hand, is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.delivery.changes import Changes
from agent.delivery.rows import TRANSITIONS, State
from tests.delivery.test_random_walks import STORY, walk
from tests.delivery.town import Town
from tests.delivery.watch import LEGAL


def some_row(town: Town, *states: State) -> Any:
    """A row of node `a` in one of the states; writable, as only the lifecycle should use it."""
    return next(r for r in town.nodes["a"].p.journal.rows.values() if r.state in states)


def write(town: Town, row: Any) -> None:
    """Have the journal of node `a` write the row."""
    changes = Changes()
    changes.write(row)
    town.nodes["a"].p.apply(changes)


def skips_a_state(town: Town) -> None:
    some_row(town, State.WAITING, State.SENDING).state = State.RAN


def leaves_its_end(town: Town) -> None:
    row = some_row(town, State.ENDED)
    row.state, row.end, row.closed = State.QUEUED, None, False
    write(town, row)


def ends_otherwise(town: Town) -> None:
    row = some_row(town, State.ENDED)
    counts = town.nodes["a"].p.journal.counts[row.pipeline, row.step]
    counts[row.end] -= 1
    row.end = "lost"
    counts["lost"] += 1
    write(town, row)


def miscounts(town: Town) -> None:
    row = some_row(town, State.ENDED)
    town.nodes["a"].p.journal.counts[row.pipeline, row.step]["accepted"] += 1
    town.watch.dirty.add("a")


def miscounts_on_disk(town: Town) -> None:
    town.nodes["a"].storage.write(lambda db: db.execute("UPDATE count SET n = n + 1 WHERE what = 'accepted'"))


def is_not_written(town: Town) -> None:
    journal = town.nodes["a"].p.journal
    real = journal.write

    def forgetful(changes: Changes) -> Any:
        changes.written = {n: row for n, row in changes.written.items() if row.state is not State.PLACED}
        return real(changes)

    journal.write = forgetful  # type: ignore[method-assign]


def is_left_lying(town: Town) -> None:
    for node in town.nodes.values():
        node.p.router.submit = lambda row: None  # type: ignore[method-assign]


def answers_before_it_is_written(town: Town) -> None:
    async def at_once(changes: Any) -> None:
        node.p.apply(changes)

    for node in town.nodes.values():
        object.__setattr__(node.p.context, "apply_written", at_once)


def loses_a_report(town: Town) -> None:
    for node in town.nodes.values():
        node.p.reports.add = lambda row: None  # type: ignore[method-assign]


def falls_over(town: Town) -> None:
    town.nodes["a"].p.router._ready.append(None)  # type: ignore[arg-type]
    town.nodes["a"].p.router._wake.set()


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (skips_a_state, "goes from (WAITING|SENDING) to RAN"),
        (leaves_its_end, "taken up again without a new delivery"),
        (ends_otherwise, "ended as .* and now as lost"),
        (miscounts, "accepted is not ends"),
        (miscounts_on_disk, r"on the disk accepted is \+1"),
        (is_not_written, "is PLACED and on the disk"),
        (is_left_lying, "there is a node for it"),
        (answers_before_it_is_written, "it is not on its disk"),
        (loses_a_report, "does not know it"),
        (falls_over, "a fell over"),
    ],
)
def test_a_fault_is_noticed(fault: Callable[[Town], None], seen: str) -> None:
    ops = [*STORY.ops, ("trigger", "a", "log", 1, 1), ("tamper", fault), ("trigger", "a", "log", 2, 2), ("wait", 30.0)]
    with pytest.raises(AssertionError, match=seen):
        walk(replace(STORY, ops=ops))


def test_walk_repeats_exactly() -> None:
    first, second = (list(walk(STORY)[1].history) for _ in range(2))
    assert first == second


def test_table_of_transitions_is_the_one_that_the_walks_expect() -> None:
    assert {state: after - {state} for state, after in TRANSITIONS.items()} == LEGAL
