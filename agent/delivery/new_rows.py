"""Making rows: one for each step that takes an event, or for each node that the step is to run on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agent.definitions import passes
from agent.delivery.rows import Row, State
from agent.delivery.table import Table
from agent.delivery.writable_row import new_row
from agent.model.alert import Hop
from agent.model.event import Event
from agent.model.node import NodeRecord
from agent.model.pipeline import Pipeline
from agent.model.placement import matches

Work = tuple[Event, str, str, str]
"""Event, pipeline, version, step."""


class RowMaker:
    """Makes rows with the next numbers; `Lifecycle.accepted` takes them in."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def row(self, event: Event, pipeline: str, version: str, step: str, **fields: Any) -> Row:
        """A row with the next number, not yet in the table or on the disk."""
        self._table.next_n += 1
        return new_row(self._table.next_n - 1, event, pipeline, version, step, **fields)

    def rows_for(
        self, pipeline: Pipeline, event: Event, maker: Row | None, live: Callable[[], Sequence[NodeRecord]], *, root_at: float,
        trace: Sequence[Hop],
    ) -> list[Row]:  # fmt: skip
        """Rows for every step that follows the event's; a row whose `when` is false is made ended.

        `pick: all` makes a row for each node of `live()` that matches: the list is in the journal before the first send.
        """
        made: list[Row] = []
        for step in pipeline.children(event.step):
            if self._table.find(event.id, pipeline.name, step.name, "") is not None:
                continue
            fields: dict[str, Any] = {
                "parent": maker.n if maker is not None else 0, "deadline": root_at + step.deadline, "root_at": root_at,
                "trace": tuple(trace),
            }  # fmt: skip
            work = (event, pipeline.name, pipeline.version, step.name)
            if not passes(step.when, event):
                made.append(self.row(*work, state=State.ENDED, end="skipped", reason="when", **fields))
            elif step.pick != "all" or step.dedupe or step.cooldown:
                made.append(self.row(*work, **fields))
            elif not (nodes := matches(step, live())):
                made.append(self.row(*work, state=State.ENDED, end="skipped", reason="no node", **fields))
            else:
                made += self.for_nodes(work, self.without_row(work, nodes), **fields)
        return made

    def for_nodes(self, work: Work, nodes: Iterable[NodeRecord], **fields: Any) -> list[Row]:
        """A row for each of the nodes."""
        return [self.row(*work, slot=n.id, target=n.id, **fields) for n in nodes]

    def without_row(self, work: Work, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """The nodes that have no row of this work yet: the same event may have been made here twice."""
        event, pipeline, _, step = work
        return [n for n in nodes if self._table.find(event.id, pipeline, step, n.id) is None]
