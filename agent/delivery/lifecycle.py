"""The life of a row: the only module that changes one.

Events come in (a row was made, placed, started, ran, failed, refused, reported, …); `Changes` go out: what the journal
writes, and the next actions. Nothing here waits, reads a file or calls another node. These rules hold for every order of events:
a row ends once, until a repeated delivery takes it up again; a row that ran ends when all its outputs are placed or ended;
a branch closes when everything below it has ended. An event from outside that comes too late for its row changes nothing; a call that
the table forbids is an internal error (IllegalTransition).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agent.clock import boottime
from agent.delivery.changes import Changes, Do
from agent.delivery.retry import BACKOFF, After, after_failure, after_report, runs_again, stays_placed
from agent.delivery.rows import ENDS, End, Row, State, hop
from agent.delivery.table import Table
from agent.delivery.writable_row import WritableRow, move, writable
from agent.errors import StepFailed
from agent.model.event import Event
from agent.model.pipeline import Keep, Step

MAX_REASON = 500
"""Most characters of a reason that are kept."""


class Lifecycle:
    """The events that change rows on one node."""

    def __init__(self, table: Table, node_id: str, keep_of: Callable[[str, str], Keep | None]) -> None:
        """`keep_of` says how long a (pipeline, version) keeps its photos; None where it is not known."""
        self._table = table
        self._node = node_id
        self._keep_of = keep_of

    # -- new rows -----------------------------------------------------------------------------------------------------

    def accepted(
        self, rows: list[Row], changes: Changes | None = None, *, position: Any = None, alone: Sequence[Event] = ()
    ) -> Changes:
        """New rows, made here or delivered, a source's (stream, position), and the events that no step takes, which are only shown.

        Raises ValueError before anything changes.
        """
        changes = changes if changes is not None else Changes()
        changes.encode(rows)
        changes.position = position if position is not None else changes.position
        changes.shown += alone
        for row in rows:
            self._table.insert(row)
            self._count(changes, row, "accepted", 1)
            if row.end is not None:
                self._count(changes, row, row.end, 1)
            changes.write(row)
        for row in rows:
            changes.then(Do.SHOW, row)
            if row.state is State.ENDED:
                self._after_end(writable(row), changes)
            else:
                changes.then(Do.RUN if row.state is State.QUEUED else Do.ROUTE, row)
        return changes

    def delivered_again(self, row: Row, node: str, attempts: int, changes: Changes) -> Changes:
        """A node delivered a row that is here already, and wants a report; a row that failed here may run once more."""
        it, again = writable(row), runs_again(row, attempts)
        it.claim(node, 0)
        it.turn += 1
        if row.open:
            it.attempts = max(row.attempts, attempts)  # else the producer takes the report of its end for an old one
        if again:
            self._reopen(it, changes)
            it.attempts, it.free, it.final = attempts, False, False
        elif row.state in (State.WAITING, State.SENDING, State.PLACED):
            # This node made the same event, and the other chose it: run it here, or each might wait for the other.
            move(it, State.QUEUED)
        it.target = self._node if row.state is State.QUEUED else it.target
        changes.write(row)
        if row.state is State.ENDED:
            changes.then(Do.REPORT, row)
        elif row.state is State.QUEUED:
            changes.then(Do.RUN, row)
        return changes

    def _reopen(self, row: WritableRow, changes: Changes) -> None:
        if row.end is not None:
            self._count(changes, row, row.end, -1)
            row.end, row.reason, row.matched = None, "", False
            move(row, State.QUEUED)
            self._table.count_open(row, 1)
        if row.closed:
            row.closed = False
            self._table.count_unclosed(row)

    # -- the choice of a node -----------------------------------------------------------------------------------------

    def decided(self, row: Row) -> Changes:
        """Dedupe and cooldown accepted it."""
        changes = Changes()
        if row.open:
            writable(row).decided = True
            changes.write(row)
            changes.then(Do.ROUTE, row)
        return changes

    def spread(self, row: Row, slots: list[Row], slot: str) -> Changes:
        """`pick: all`, once it is decided: this row is for the node `slot`, the new rows are for the others."""
        changes, it, old = Changes(), writable(row), row.key
        changes.encode(slots)
        it.slot = it.target = slot
        self._table.rekey(row, old)
        changes.write(row)
        self.accepted(slots, changes)
        changes.then(Do.ROUTE, row)
        return changes

    def routed(self, row: Row, target: str) -> Changes:
        """A node was chosen. Not written: after a restart it is chosen again."""
        changes, it = Changes(), writable(row)
        here = target == self._node
        it.target = target
        it.asked_again = False
        it.choice += 1
        move(it, State.QUEUED if here else State.SENDING)
        changes.then(Do.RUN if here else Do.SEND, row)
        return changes

    def unplaced(self, row: Row, after: float) -> Changes:
        """No live node matches now."""
        changes, it = Changes(), writable(row)
        move(it, State.WAITING)
        it.target = ""
        changes.then(Do.ROUTE, row, after)
        return changes

    # -- delivery ----------------------------------------------------------------------------------------------------

    def placed(self, rows: Iterable[Row]) -> Changes:
        """The target has accepted these rows."""
        changes, now = Changes(), boottime()
        moved = [writable(r) for r in rows if r.state is State.SENDING]
        for row in moved:
            move(row, State.PLACED)
            row.looked = now
            changes.write(row)
        for row in moved:
            self._settle_parent(row, changes)
        return changes

    def put_back(
        self, row: Row, after: float, *, avoid: bool, changes: Changes, answered: bool = True, reason: str = ""
    ) -> Changes:
        """The target refused it (`reason`), or no answer came; with `avoid` others are tried first."""
        if row.state is State.SENDING:
            it = writable(row)
            if stays_placed(row, answered=answered, avoid=avoid, now=boottime()):
                move(it, State.PLACED)
                it.looked = 0.0
                self._settle_parent(it, changes)  # its siblings may have been placed meanwhile
                return changes
            move(it, State.WAITING)
            it.reason = reason[:MAX_REASON] or row.reason
            if avoid:
                self._avoid(it, row.target)
            changes.then(Do.ROUTE, row, after)
        return changes

    def probed(self, row: Row) -> Changes:
        """Deliver the row to its holder again: the holder still knows it, or accepts it again."""
        changes, it = Changes(), writable(row)
        move(it, State.SENDING)
        it.choice += 1
        it.asked_again = True
        it.looked = boottime()
        changes.then(Do.SEND, row)
        return changes

    def node_gone(self, row: Row) -> Changes:
        """The holder is gone; others can run it."""
        changes, it = Changes(), writable(row)
        move(it, State.WAITING)
        it.target = ""
        changes.write(row)
        changes.then(Do.ROUTE, row)
        return changes

    def reported(
        self, row: Row, end: str, reason: str, *, closed: bool, matched: bool, after: After, step: Step | None
    ) -> Changes:
        """The holder tells how the row ended there; it may be tried again elsewhere."""
        changes, it = Changes(), writable(row)
        if row.open:
            if end == "failed" and 0 <= after.attempts < row.attempts:
                return changes  # reported twice: that run is counted already, and the row is delivered again
            pause = after_report(row, step, end, after, boottime())
            if pause is not None:
                it.attempts += not after.free
                self._avoid(it, row.target)
                move(it, State.WAITING)
                it.target, it.reason = "", reason[:MAX_REASON]
                changes.write(row)
                changes.then(Do.ROUTE, row, pause)
                return changes
            it.final = after.final
            self._end(it, next((e for e in ENDS if e == end), "failed"), reason, changes)
        if closed and not row.open:
            it.matched = row.matched or matched
            self._close_if_done(it, changes, told=True)
        return changes

    # -- runs here ----------------------------------------------------------------------------------------------------

    def started(self, row: Row) -> None:
        """A run begins. In memory only."""
        writable(row).started = boottime()

    def waits(self, row: Row, reason: str) -> None:
        """It stays here until its program can run. In memory only, for `trace` and `status`."""
        if row.state is State.QUEUED:
            writable(row).reason = reason[:MAX_REASON]

    def ran(
        self, row: Row, made: list[Row], step: str, node_name: str, at: float, alone: Sequence[Event] = ()
    ) -> Changes:
        """The step ran and made these rows, in one transaction, and events that no step takes.

        Raises ValueError before anything changes.
        """
        changes, it = Changes(), writable(row)
        if row.state is not State.QUEUED:
            return changes
        changes.encode(made)
        changes.shown += alone
        it.trace = hop(row, step, node_name, at, at - row.started)
        move(it, State.RAN)
        changes.write(row)
        self.accepted(made, changes)
        if it.state is State.RAN:
            self._settle(it, changes)
        return changes

    def failed(self, row: Row, step: Step, error: StepFailed) -> Changes:
        """A run failed. Its earlier outputs are in the journal and are delivered; nothing runs again."""
        changes, it = Changes(), writable(row)
        if row.state is State.RAN:
            for child in self._table.children.get(row.n, ()):
                if child.state is State.WAITING:
                    changes.then(Do.ROUTE, child)
        elif row.state is State.QUEUED:
            it.final = error.final
            match after_failure(row, step, error):
                case "end":
                    it.attempts += 1
                    it.final = True
                    self._end(it, "failed", error.message, changes)
                case "producer":
                    # The producer counts this run and chooses the next node, which may be this one again.
                    self._end(it, "failed", error.message, changes)
                case "here" | "elsewhere" as where:
                    it.attempts += 1
                    it.reason = error.message[:MAX_REASON]
                    self._avoid(it, self._node)
                    move(it, State.QUEUED if where == "here" else State.WAITING)
                    changes.write(row)
                    changes.then(Do.RUN if where == "here" else Do.ROUTE, row, BACKOFF.after(1))
        return changes

    def passed_on(self, row: Row, reason: str) -> Changes:
        """This node cannot run it now, others can; it has used no attempt."""
        changes, it = Changes(), writable(row)
        if row.state is not State.QUEUED:
            return changes
        if row.claims:
            it.free = True
            self._end(it, "failed", reason, changes)
            return changes
        self._avoid(it, self._node)
        move(it, State.WAITING)
        changes.then(Do.ROUTE, row, BACKOFF.after(1))
        return changes

    def reached_sink(self, row: Row, step: str, node_name: str) -> None:
        """The sink step begins to send it; its trace gets that hop once. In memory until the row ends."""
        if not row.trace or row.trace[-1].step != step:
            at = boottime()
            writable(row).trace = hop(row, step, node_name, at, at - (row.started or at))

    # -- ends ---------------------------------------------------------------------------------------------------------

    def ended(self, row: Row, how: End, why: str = "", *, matched: bool = False, final: bool = False) -> Changes:
        """The row ends, once. `matched`: an alert follows from it; `final`: no retry would end differently."""
        changes, it = Changes(), writable(row)
        if row.end is None:
            it.matched, it.final = row.matched or matched, row.final or final
            self._end(it, how, why, changes)
        return changes

    def forgotten(self, row: Row) -> Changes:
        """The node that ran it will never report the end of its branch: the branch counts as ended."""
        changes = Changes()
        self._close_if_done(writable(row), changes, told=True)
        return changes

    def told(self, row: Row, node: str, phase: int, changes: Changes) -> Changes:
        """A node that delivered the row has heard this phase of it."""
        writable(row).claim(node, phase)
        if row.n in self._table.by_n:
            changes.write(row)
        return changes

    def resumed(self) -> Changes:
        """After a restart: continue the work that the journal records."""
        changes = Changes()
        for row in self._table.open_rows():
            if row.state in (State.WAITING, State.SENDING):
                move(writable(row), State.WAITING)
                changes.then(Do.ROUTE, row)
            elif row.state is State.QUEUED:
                changes.then(Do.RUN, row)
            elif row.state is State.RAN:
                self._settle(writable(row), changes)
        for row in sorted(self._table.rows.values(), key=lambda r: -r.n):
            self._close_if_done(writable(row), changes)
            if not row.open:
                changes.then(Do.REPORT, row)
        return changes

    def _end(self, row: WritableRow, how: End, why: str, changes: Changes) -> None:
        move(row, State.ENDED)
        row.end, row.reason = how, why[:MAX_REASON]
        self._table.count_open(row, -1)
        self._count(changes, row, how, 1)
        changes.write(row)
        self._after_end(row, changes)

    def _after_end(self, row: WritableRow, changes: Changes) -> None:
        self._settle_parent(row, changes)
        if row.claims:
            changes.then(Do.REPORT, row)
        self._close_if_done(row, changes)

    def _settle_parent(self, row: WritableRow, changes: Changes) -> None:
        parent = self._table.by_n.get(row.parent)
        if parent is not None and parent.state is State.RAN:
            self._settle(writable(parent), changes)

    def _settle(self, row: WritableRow, changes: Changes) -> None:
        """End a row that ran, once each of its outputs is placed or ended."""
        if all(c.state >= State.PLACED for c in self._table.children.get(row.n, ())):
            self._end(row, "delivered", "", changes)

    def _close_if_done(self, row: WritableRow, changes: Changes, *, told: bool = False) -> None:
        """Close the row when its branch has ended; `told`: the node that ran it has reported its part."""
        if row.closed or row.open:
            return
        elsewhere = row.target not in ("", self._node) and row.end in ("delivered", "failed")
        children = self._table.children.get(row.n, ())
        if (elsewhere and not told and not children) or not all(c.closed for c in children):
            return
        row.matched = row.matched or any(c.matched for c in children)
        self._close(row, changes)
        if row.claims:
            changes.then(Do.REPORT, row)
        parent = self._table.by_n.get(row.parent)
        if parent is not None:
            self._close_if_done(writable(parent), changes)

    def _close(self, row: WritableRow, changes: Changes) -> None:
        row.closed = True
        self._table.count_closed(row)
        keep = self._keep_of(row.pipeline, row.version)
        seconds = 0.0 if keep is None else keep.matched if row.matched else keep.unmatched
        if seconds > 0:
            kept = {b.cid: boottime() + seconds for b in row.event.blobs()}
            self._table.kept.update(kept)
            changes.kept.update(kept)
        changes.write(row)
        changes.closed.append(row)

    def _count(self, changes: Changes, row: Row, what: str, n: int) -> None:
        self._table.counts[row.pipeline, row.step][what] += n
        key = (row.pipeline, row.step, what)
        changes.counts[key] = changes.counts.get(key, 0) + n

    def _avoid(self, row: WritableRow, node: str) -> None:
        """Have other nodes tried first; a row with a slot has no others."""
        if not row.slot and node not in row.avoid:
            row.avoid = (*row.avoid, node)
