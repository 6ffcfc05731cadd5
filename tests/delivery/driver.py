"""A journal for tests that end, close and reopen rows one by one, where the engine would do what follows at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from agent.delivery import Context, Deciders, Journal, StepKey, StepMaker, Work
from agent.delivery.changes import Changes
from agent.delivery.lifecycle import Lifecycle
from agent.delivery.rows import End, Key, Row, State
from agent.delivery.stored_rows import COLUMNS
from agent.delivery.writable_row import WritableRow, new_row, writable
from agent.errors import Refused, StepFailed
from agent.model.event import Event
from agent.model.pipeline import Keep, Pipeline, Step


class _Alone(Lifecycle):
    """Closes no row by itself."""

    def _close_if_done(self, row: WritableRow, changes: Changes, *, told: bool = False) -> None:
        """Not here."""


class Driven(Journal):
    """The real journal and the real transitions; each call is one transaction."""

    def new(self, event: Event, pipeline: str, version: str, step: str, **fields: Any) -> Row:
        """A row with the next number, not yet journalled."""
        for name in ("avoid", "trace"):
            fields[name] = tuple(fields.get(name, ()))
        self.next_n += 1
        return new_row(self.next_n - 1, event, pipeline, version, step, **fields)

    def commit(
        self,
        *,
        add: Iterable[Row] = (),
        change: Iterable[Row] = (),
        end: Iterable[tuple[Row, End, str]] = (),
        position: tuple[str, Any] | None = None,
    ) -> asyncio.Future[Any]:
        """New rows, changed rows, ends, and a source's position."""
        life, changes = self._life(), Changes()
        life.accepted(list(add), changes, position=position)
        for row in change:
            changes.write(row)
        for row, how, why in end:
            more = life.ended(row, how, why)
            changes.written |= more.written
            for key, n in more.counts.items():
                changes.counts[key] = changes.counts.get(key, 0) + n
            changes.write(row)
        return self.write(changes)

    def change(self, row: Row, state: State) -> asyncio.Future[Any]:
        """One more attempt, in any state."""
        it, changes = writable(row), Changes()
        it.state, it.attempts = state, it.attempts + 1
        changes.write(row)
        return self.write(changes)

    def close_row(self, row: Row, *, keep: float) -> asyncio.Future[Any]:
        """Close it; its photos stay `keep` seconds."""
        changes = Changes()
        self._life(keep)._close(writable(row), changes)
        return self.write(changes)

    def reopen(self, row: Row) -> asyncio.Future[Any]:
        """Take it up again."""
        changes = Changes()
        self._life()._reopen(writable(row), changes)
        changes.write(row)
        return self.write(changes)

    def _life(self, keep: float = 0.0) -> Lifecycle:
        return _Alone(self, "here", lambda pipeline, version: Keep(keep, keep))


class _NoSteps:
    """Runs nothing."""

    async def make(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        raise Refused("no steps run here")

    def note(self, key: StepKey, text: str) -> None: ...

    def start_failure(self, key: StepKey) -> StepFailed | None: ...

    async def stop(self, key: StepKey) -> None: ...

    async def close(self) -> None: ...


def no_steps(context: Context, deciders: Deciders) -> StepMaker:
    """For an engine that only makes rows."""
    return _NoSteps()


def every_row(j: Journal) -> list[Row]:
    """The rows in memory, and those that are on the disk only, which stay there."""
    stored = [j._row(v) for v in j.query(f"SELECT {COLUMNS} FROM row") if j._is_archived(v)]
    return sorted([*j.rows.values(), *stored], key=lambda r: r.n)


def known_row(j: Journal, key: Key) -> Row | None:
    """The row with this key, in memory or on the disk only, where it stays."""
    if (row := j.rows.get(key)) is not None or not (n := j.archive.find(key)):
        return row
    (values,) = j.query(f"SELECT {COLUMNS} FROM row WHERE n = ?", n)
    return j._row(values)
