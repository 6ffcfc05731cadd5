"""Routing of a row: dedupe and cooldown, the choice of a node, and another choice when that node goes away."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable

from agent import ticks
from agent.clock import boottime
from agent.definitions import key_of
from agent.delivery.context import Context
from agent.delivery.deciders import Deciders
from agent.delivery.policy import Check
from agent.delivery.retry import LOST_AFTER
from agent.delivery.rows import End, Row, State
from agent.errors import EdgeError, Refused
from agent.model.node import NodeRecord
from agent.model.pipeline import DAY, Pipeline, Step, Window, program_name
from agent.model.placement import matches, rank

log = logging.getLogger(__name__)

GONE = 5.0
"""Seconds that a node must be gone before its work is given to another (DESIGN.md, "A hop")."""
AGAIN = 0.25
"""Seconds until a row that could not be placed is looked at again; a change in the mesh comes sooner."""
NO_NODE = 2.0
"""The same for a row that no live node matches: ten thousand of them must not keep a small machine busy."""
SLACK = 0.1
"""Least seconds between two checks of such rows: rows that fall due meanwhile are checked together."""
PROBE = 300.0
"""Seconds after which a row that another live node holds is delivered again: that node still knows it, or accepts it again."""
SWEEP = 1.0
"""Seconds between checks of the open rows: whether their time is over, or their node is gone."""
TIDY = 10.0
"""Seconds between checks of rows that have ended, and at photos that were kept."""
CLOSE_AFTER = 3600.0
"""Seconds that photos wait for the report of a node that vanished after it had settled."""
FORGOTTEN = 8 * DAY
"""Seconds after the deadline that photos wait for a live node: it may have lost its journal and never report."""


class Router:
    """Takes rows that wait, and rows whose node is gone."""

    def __init__(self, context: Context, deciders: Deciders, tidy: Callable[[], None], check: Check) -> None:
        """`tidy` is called every TIDY seconds; `check` holds the policy of this node's owner."""
        self.check = check
        self.context = context
        self.deciders = deciders
        self._tidy = tidy
        self._ready: deque[Row] = deque()
        self._later: dict[int, tuple[float, Row]] = {}
        self._next = math.inf
        """When the first of those rows falls due."""
        self._wake = asyncio.Event()
        self._open = asyncio.Event()
        """Set by every new row; without a new row nothing is swept."""
        self._gone: dict[str, float] = {}
        self._boots: dict[str, str] = {}
        self._moved: Counter[tuple[str, str, str]] = Counter()
        self._tasks: asyncio.TaskGroup | None = None
        self._asking = asyncio.Semaphore(64)
        context.mesh.on_change(self._mesh_changed)

    def submit(self, row: Row) -> None:
        """Look at the row soon."""
        self._ready.append(row)
        self._wake.set()
        self._open.set()

    def later(self, row: Row, seconds: float = AGAIN) -> None:
        """Look at the row again after a while, or when the mesh changes."""
        due = boottime() + seconds
        self._later[row.n] = (due, row)
        self._open.set()
        if due < self._next:
            self._next = due
            self._wake.set()

    async def run(self) -> None:
        """Route until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._sweep())
            while True:
                await ticks.wait(self._wake, max(SLACK, self._next - boottime()) if self._next < math.inf else None)
                self._wake.clear()
                self._fall_due(boottime())
                while self._ready:
                    self._route(self._ready.popleft())

    def _fall_due(self, now: float) -> None:
        if now < self._next:
            return
        for n in [n for n, (at, _) in self._later.items() if at <= now]:
            self._ready.append(self._later.pop(n)[1])
        self._next = min((at for at, _ in self._later.values()), default=math.inf)

    # -- one row ------------------------------------------------------------------------------------------------------

    def _route(self, row: Row) -> None:
        if row.state is not State.WAITING:
            return
        if boottime() >= row.deadline:
            self._end(row, "expired", "older than the step's deadline")
            return
        if row.slot and self.context.mesh.is_removed(row.slot):
            self._later.pop(row.n, None)
            self._end(row, "expired", "its node was removed from the mesh")
            return
        found = self.context.step_of(row)
        if found is None:
            self.later(row, 1.0)
            return
        pipeline, step = found
        if not row.decided and (step.dedupe or step.cooldown):
            assert self._tasks is not None
            self._tasks.create_task(self._decide(row, pipeline, step))
        elif step.pick == "all" and not row.slot:
            self._spread(row, step)
        else:
            self._choose(row, step)

    def _choose(self, row: Row, step: Step) -> None:
        target = self._target(row, step)
        life = self.context.lifecycle
        self.context.apply(life.unplaced(row, NO_NODE) if target is None else life.routed(row, target))

    def _target(self, row: Row, step: Step) -> str | None:
        if step.pick == "here":
            return self.context.node_id
        if row.slot:
            return row.slot if row.slot == self.context.node_id or self.context.mesh.is_live(row.slot) else None
        ranked = self.ranked(row, step)
        fresh = [n for n in ranked if n.id not in row.avoid]
        return (fresh or ranked)[0].id if ranked else None

    def ranked(self, row: Row, step: Step) -> list[NodeRecord]:
        """The live matches of the step, best first. A kind with a decider key goes by that alone, so that one node decides."""
        nodes = self._allowed(row, step, matches(step, self.context.mesh.live()))
        kind = self.context.definitions.kinds.of(step)
        try:
            key = kind.decider_key(row.event)
        except Exception:
            log.exception("%s/%s: internal error in the agent; the event goes to any node", row.pipeline, row.step)
            key = ""
        if key:
            return rank(key, nodes, weighed=False)
        need, program = kind.reserves(step), program_name(row.pipeline, row.step)
        return rank(row.event.id, nodes, prefer=step.prefer, need=need, program=program)

    def _allowed(self, row: Row, step: Step, nodes: list[NodeRecord]) -> list[NodeRecord]:
        """The nodes without this one, where its owner forbids the step and others match."""
        others = [n for n in nodes if n.id != self.context.node_id]
        if not others or len(others) == len(nodes):
            return nodes
        try:
            self.check(self.context.definitions.kinds.task_of(step))
        except Refused:
            return others
        return nodes

    def _spread(self, row: Row, step: Step) -> None:
        """`pick: all`: one row for each node that matches now."""
        live = matches(step, self.context.mesh.live())
        if not live:
            self._end(row, "skipped", "no node")
            return
        rows, work = self.context.rows, (row.event, row.pipeline, row.version, row.step)
        nodes = rows.without_row(work, live)
        if not nodes:
            self._end(row, "deduplicated", "its nodes have it already")
            return
        fields = {"parent": row.parent, "deadline": row.deadline, "root_at": row.root_at, "trace": row.trace}
        more = rows.for_nodes(work, nodes[1:], decided=True, **fields)
        self.context.apply(self.context.lifecycle.spread(row, more, nodes[0].id))

    async def _decide(self, row: Row, pipeline: Pipeline, step: Step) -> None:
        scope = f"{pipeline.name}/{step.name}"
        try:
            async with self._asking:
                if step.dedupe and not await self._first(f"dedupe:{scope}", step.dedupe, row):
                    self._end(row, "deduplicated", "its key was seen before")
                    return
                if step.cooldown and not await self._first(f"cooldown:{scope}", step.cooldown, row):
                    self._end(row, "suppressed", "its key passed lately")
                    return
        except EdgeError as e:
            log.debug("no decider for %s: %s", scope, e)
            self.later(row)
            return
        self.context.apply(self.context.lifecycle.decided(row))

    async def _first(self, scope: str, window: Window, row: Row) -> bool:
        return await self.deciders.first(scope, key_of(window.key, row.event), row.event.id, window.seconds)

    # -- the mesh changed ---------------------------------------------------------------------------------------------

    def _mesh_changed(self, record: NodeRecord, alive: bool) -> None:
        now = boottime()
        if alive:
            # Records change with every free place; only a node that was away or has restarted may have lost rows.
            back = self._gone.pop(record.id, None) is not None or self._boots.get(record.id) != record.boot
            self._boots[record.id] = record.boot
            for row in self.context.journal.open_rows() if back else ():
                if row.target == record.id and row.state is State.PLACED:
                    self._probe(row)
        else:
            self._gone.setdefault(record.id, now)
        for n in list(self._later):
            self._ready.append(self._later.pop(n)[1])
        self._next = math.inf
        self._wake.set()

    async def _sweep(self) -> None:
        tidied = 0.0
        while True:
            if self.context.journal.open_count:
                await asyncio.sleep(SWEEP)
            else:
                self._open.clear()
                await ticks.wait(self._open, ticks.until(TIDY))
            now = boottime()
            if self.context.journal.open_count:
                for row in self.context.journal.open_rows():
                    self._check(row, now)
            for (pipeline, step, node), rows in self._moved.items():
                log.info("%s/%s: %s is gone, %d events there go to another node", pipeline, step, node, rows)
            self._moved.clear()
            if now >= tidied + TIDY:
                tidied = now
                self._close_forgotten(now)
                self._tidy()

    def _check(self, row: Row, now: float) -> None:
        if row.state is State.WAITING and now >= row.deadline:
            self._later.pop(row.n, None)
            self._end(row, "expired", "older than the step's deadline")
        elif row.state is State.SENDING and now >= row.deadline and not self.context.mesh.is_live(row.target):
            self._end(row, "expired", "no node took it in time")
        elif row.state is State.PLACED and row.target != self.context.node_id:
            if self.context.mesh.is_live(row.target):
                if now - row.looked >= PROBE:
                    self._probe(row)
            elif self.context.mesh.is_removed(row.target) or now - self._gone.setdefault(row.target, now) >= GONE:
                self._replace(row, now)

    def _probe(self, row: Row) -> None:
        self.context.apply(self.context.lifecycle.probed(row))

    def _end(self, row: Row, how: End, why: str) -> None:
        self.context.apply(self.context.lifecycle.ended(row, how, why))

    def _replace(self, row: Row, now: float) -> None:
        found = self.context.step_of(row)
        if found is None:
            return
        removed = self.context.mesh.is_removed(row.target)
        movable = not row.slot and found[1].pick == "one" and now < row.deadline
        if movable and (removed or self.ranked(row, found[1])):
            self._moved[row.pipeline, row.step, row.target] += 1
            self.context.apply(self.context.lifecycle.node_gone(row))
        elif removed:
            self._end(row, "lost", "the node that accepted it was removed from the mesh")
        elif now >= row.deadline + LOST_AFTER:
            self._end(row, "lost", "the node that accepted it has not come back")

    def _close_forgotten(self, now: float) -> None:
        for row in list(self.context.journal.rows.values()):
            if row.open or row.closed or row.target in ("", self.context.node_id):
                continue
            if self.context.mesh.is_live(row.target):
                over = now - row.deadline >= FORGOTTEN
            else:
                gone = now - self._gone.setdefault(row.target, now)
                over = self.context.mesh.is_removed(row.target) or gone >= CLOSE_AFTER
            if over:
                self.context.apply(self.context.lifecycle.forgotten(row))
