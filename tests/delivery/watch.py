"""The rules that delivery promises, checked while a town runs: after each turn of the loop, at each commit, at each message."""

from __future__ import annotations

import sqlite3
from asyncio import Future
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from agent.delivery import Row
from agent.delivery.changes import Changes
from agent.delivery.rows import State
from agent.delivery.wire import DeliverRequest, Report, Verdict
from agent.model.event import Event, decode_event, event_id
from agent.model.placement import matches
from tests.delivery.driver import every_row, known_row
from tests.delivery.town import Town, TownNode, outputs_of

W, S, Q, R, P, E = State.WAITING, State.SENDING, State.QUEUED, State.RAN, State.PLACED, State.ENDED
LEGAL: dict[State, frozenset[State]] = {
    W: frozenset({S, Q, E}),
    S: frozenset({W, Q, P, E}),
    Q: frozenset({W, R, E}),
    R: frozenset({E}),
    P: frozenset({W, S, Q, E}),
    E: frozenset({Q}),
}
"""From → to. Only a row that failed leaves ENDED, when another node delivers it again."""
PROGRAMS = frozenset({"small", "labels", "count", "far", "tell", "here"})
"""Steps of the town that run a program."""
FIRST = frozenset({W, Q, E})
TIMEOUT = 20.0
"""Longest time of one delivery call."""
REPORT_TIMEOUT = 10.0
LOST_AFTER = 60.0
GONE = 5.0
SLACK = 4.0
"""Seconds that a look at the open rows, and a restart, may come late."""
_ROWS = "SELECT n, event, pipeline, step, slot, state, ending, closed FROM row"
_SUMS = """
SELECT pipeline, step, SUM(x) FROM (
    SELECT pipeline, step, CASE what WHEN 'accepted' THEN n ELSE -n END AS x FROM count
    UNION ALL SELECT pipeline, step, -1 FROM row WHERE ending IS NULL
) GROUP BY pipeline, step HAVING SUM(x) != 0
"""
Key = tuple[str, str, str, str]
Seen = tuple[State, str | None, bool]


class Watch:
    """Collects what is wrong; a walk fails with the first of it and the history before it."""

    def __init__(self) -> None:
        self.town: Town
        self.problems: list[str] = []
        self.history: deque[str] = deque(maxlen=4000)
        self.seen: dict[str, dict[int, Seen]] = defaultdict(dict)
        self.ends: dict[str, Counter[int]] = defaultdict(Counter)
        """Ends less re-openings of each row since its node started."""
        self.open: dict[str, dict[int, Row]] = defaultdict(dict)
        """Rows that may still change."""
        self.dirty: set[str] = set()
        """Nodes whose rows have changed in this turn."""
        self.disk: dict[str, dict[int, tuple[int, str | None, int]]] = defaultdict(dict)
        """State, end and closed of each node's rows when its disk was last looked at."""
        self.scanned: Counter[str] = Counter()
        """The number of commits by then."""
        self.next_look: dict[str, float] = defaultdict(float)
        """Loop time of the next look for rows that are left lying."""
        self.since: dict[tuple[str, int], float] = {}
        """Loop time of each row's last change."""
        self.runs: Counter[tuple[str, str]] = Counter()
        """Runs of programs that answered, by event and node."""
        self.failures: Counter[tuple[str, str]] = Counter()
        """Runs of programs that failed, by event and step."""
        self.told: dict[int, list[tuple[Key, str | None, int]]] = {}
        """By number of a request that reports: end and attempts of its rows when the handler began to wait."""
        self.ids: set[str] = set()
        """The short ids of all events."""
        self.moves: Counter[tuple[State, State]] = Counter()
        """Transitions that were seen."""

    def wrong(self, what: str) -> None:
        """Note a broken promise."""
        self.note(f"WRONG {what}")
        self.problems.append(what)

    def note(self, what: str) -> None:
        self.history.append(f"{self.town.loop.time() - 1e6:9.3f} {what}")

    def report(self) -> str:
        """The first problem, and what happened to the events and rows that it names."""
        words = set(self.problems[0].replace(":", " ").split())
        mine = [line for line in self.history if line[10:].startswith("-") or words & self._events(line)]
        shown = mine if len(mine) > 20 else list(self.history)
        return "\n".join(["", *shown[-80:], "--- so:", *self.problems[:5]])

    def _events(self, line: str) -> set[str]:
        return {word for word in line.split() if word[:5] in self.ids}

    # -- rows in memory -----------------------------------------------------------------------------------------------

    def attach(self, node: TownNode) -> None:
        """The node has started and read its journal."""
        name = node.name
        self.seen[name], self.ends[name] = {}, Counter()
        self.open[name] = {}
        for row in every_row(node.p.journal):
            self.seen[name][row.n] = (row.state, row.end, row.closed)
            self.ends[name][row.n] = int(row.end is not None)
            self.since[name, row.n] = self.town.loop.time()
            if row.n in node.p.journal.by_n:
                self.open[name][row.n] = row
            known = self.disk[name].get(row.n, (-1, None, 0))
            if self.scanned[name] == node.disk.commits and known != (int(row.state), row.end, int(row.closed)):
                self.wrong(f"{name}: row {row.n} {row.event.id[:5]} is read otherwise than it was committed")
        node.p.journal.write = partial(self.write, node, node.p.journal.write)  # type: ignore[method-assign]
        self.note(f"{name} starts with {len(node.p.journal.rows)} rows")

    def died(self, node: TownNode) -> None:
        self.note(f"{node.name} dies")

    def write(self, node: TownNode, write: Callable[[Changes], Future[Any]], changes: Changes) -> Future[Any]:
        """The journal is handed changes."""
        done = write(changes)
        for row in changes.written.values():
            self.changed(node, row)
        return done

    def changed(self, node: TownNode, row: Row) -> None:
        """The journal was told of a change."""
        if node.p.journal.by_n.get(row.n) is not None:
            self.open[node.name][row.n] = row
            self.look(node, row)
            self.dirty.add(node.name)

    def look(self, node: TownNode, row: Row) -> None:
        """Compare the row with what it was."""
        name = node.name
        new: Seen = (row.state, row.end, row.closed)
        old = self.seen[name].get(row.n)
        if new == old:
            return
        self.seen[name][row.n] = new
        self.since[name, row.n] = self.town.loop.time()
        who = f"{name}: row {row.n} {row.step}{'@' + row.slot if row.slot else ''} {row.event.id[:5]}"
        self.note(
            f"{who} {_text(old)} -> {_text(new)} target={row.target} tries={row.attempts} {row.claims} {row.reason}"
        )
        self.dirty.add(name)
        if old is None:
            self.ids.add(row.event.id[:5])
            if row.state not in FIRST:
                self.wrong(f"{who} is new and {row.state.name}")
        else:
            self._step(node, row, who, old)
        if row.step in PROGRAMS and self.town.tells_once and row.attempts > self.failures[row.event.id, row.step]:
            self.wrong(f"{who} counts {row.attempts} attempts, {self.failures[row.event.id, row.step]} runs failed")
        if (row.state is State.ENDED) != (row.end is not None):
            self.wrong(f"{who} is {row.state.name} with the end {row.end}")
        if row.end is not None and (old is None or old[1] is None):
            self._ended(node, row, who)
        if row.closed and not all(c.closed for c in node.p.journal.children.get(row.n, ())):
            self.wrong(f"{who} is closed before its branch has ended")
        if row.closed and row.end is None:
            self.wrong(f"{who} is closed and has not ended")

    def _step(self, node: TownNode, row: Row, who: str, old: Seen) -> None:
        state, end, closed = old
        if state is not row.state:
            self.moves[state, row.state] += 1
            if row.state not in LEGAL[state]:
                self.wrong(f"{who} goes from {state.name} to {row.state.name}")
        if state is State.ENDED and row.state is not State.ENDED:
            self.ends[node.name][row.n] -= 1
            if end != "failed" or 0 not in row.claims.values():
                self.wrong(f"{who} ended as {end} and is taken up again without a new delivery")
        elif end is not None and end != row.end:
            self.wrong(f"{who} ended as {end} and now as {row.end}")
        elif closed and not row.closed:
            self.wrong(f"{who} was closed and is not any more")

    def _ended(self, node: TownNode, row: Row, who: str) -> None:
        ends = self.ends[node.name]
        ends[row.n] += 1
        if ends[row.n] != 1:
            self.wrong(f"{who} has ended {ends[row.n]} times")
        if row.end == "delivered" and not all(c.state >= P for c in node.p.journal.children.get(row.n, ())):
            self.wrong(f"{who} is delivered while an output of it is only here")

    def turn(self) -> None:
        """A turn of the loop is over."""
        for node in self.town.nodes.values():
            if not node.up:
                continue
            seen, mine = self.seen[node.name], self.open[node.name]
            for row in [r for r in mine.values() if seen[r.n] != (r.state, r.end, r.closed)]:
                self.look(node, row)
            if node.name in self.dirty:
                self._sums(node)
                self._settled(node)
            if self.town.loop.time() >= self.next_look[node.name]:
                self.next_look[node.name] = self.town.loop.time() + 0.5
                for n in [n for n, r in mine.items() if r.closed]:
                    del mine[n]
                for row in mine.values():
                    self._due(node, row)
        self.dirty.clear()
        if self.problems:
            raise AssertionError(self.report())

    def _sums(self, node: TownNode) -> None:
        for key, counts in node.p.journal.totals().items():
            if 2 * counts["accepted"] != sum(counts.values()):
                self.wrong(f"{node.name}: accepted is not ends + open for {key}: {counts}")
        if (real := sum(r.open for r in node.p.journal.rows.values())) != node.p.journal.open_count:
            self.wrong(f"{node.name}: {real} rows are open and {node.p.journal.open_count} are counted")

    def _settled(self, node: TownNode) -> None:
        """A row that ran ends with the last of its outputs to be placed or ended. A node that starts looks first."""
        if self.town.loop.time() - node.since < SLACK:
            return
        children = node.p.journal.children
        for row in self.open[node.name].values():
            if row.state is State.RAN and all(c.state >= P for c in children.get(row.n, ())):
                self.wrong(
                    f"{node.name}: row {row.n} {row.step} {row.event.id[:5]} ran, its outputs are away, and it is open"
                )

    def _due(self, node: TownNode, row: Row) -> None:
        """A row is not left lying. A node that has just started, or stood still, needs a moment."""
        now, state = self.town.loop.time(), row.state
        up = now - max(node.since, self.town.skipped) - SLACK
        late, waits = node.now() - row.deadline, now - self.since[node.name, row.n]
        if up < 0 or row.end is not None:
            return
        who = f"{node.name}: row {row.n} {row.step} {row.event.id[:5]}"
        if state is State.WAITING:
            if min(late, waits, up) > SLACK:
                self.wrong(f"{who} waits {late:.1f} s after its deadline")
            if min(waits, up, now - node.mesh.changed) > (4 * SLACK if not row.decided else 2 * SLACK) and self._could(
                node, row
            ):
                self.wrong(f"{who} waits {waits:.1f} s and there is a node for it")
        elif state is State.SENDING and min(waits, up) > 2 * TIMEOUT + SLACK:
            self.wrong(f"{who} is being sent for {waits:.1f} s")
        elif state is State.PLACED and row.target not in node.mesh.view:
            gone = now - node.mesh.missing.get(row.target, node.since)
            if min(late - LOST_AFTER, gone - GONE, waits, up) > SLACK:
                self.wrong(f"{who} is not lost {late:.1f} s after its deadline, and its node is gone for {gone:.1f} s")
        elif state is State.PLACED:
            self._told(node, row, who)

    def _could(self, node: TownNode, row: Row) -> bool:
        """Whether a node that is live for this one may run the row."""
        found = node.p.definitions.step(row.pipeline, row.version, row.step)
        if row.slot:
            return row.slot in node.mesh.view
        return found is not None and bool(matches(found[1], node.mesh.live()))

    def _told(self, node: TownNode, row: Row, who: str) -> None:
        """While messages pass, a producer hears soon that its row has ended."""
        other = self.town.nodes[row.target]
        there = known_row(other.p.journal, row.key) if other.up else None
        if there is not None and there.end is not None and node.name in there.claims:
            since = self.town.loop.time() - max(self.since[other.name, there.n], self.since[node.name, row.n])
            soon = SLACK + 4 * self.town.net.weather.slowest + 4 * other.disk.slowest
            if min(since, self.town.smooth_for() - REPORT_TIMEOUT) > soon:
                self.wrong(f"{who} has ended as {there.end} on {other.name} {since:.1f} s ago and does not know it")

    # -- rows on the disk ---------------------------------------------------------------------------------------------

    def committed(self, node: TownNode, db: sqlite3.Connection, idle: bool) -> None:
        """A transaction is on the disk; `idle`: nothing else waits to be written."""
        name = node.name
        for pipeline, step, off in db.execute(_SUMS):
            self.wrong(f"{name}: on the disk accepted is {off:+d} beside ends + open for {pipeline}/{step}")
        if not idle:
            return
        self.scanned[name] = node.disk.commits
        before, after = self.disk[name], {}
        for n, event, _, step, _, state, end, closed in db.execute(_ROWS):
            after[n] = (state, end, closed)
            was = before.get(n)
            if was is not None and was[1] not in (None, "failed", end):
                self.wrong(f"{name}: row {n} {step} {event[:5]} is on the disk as {was[1]} and then as {end}")
        self.disk[name] = after
        if node.up:
            self._compare(node)

    def _compare(self, node: TownNode) -> None:
        """With nothing left to write the disk knows of every promise that was given."""
        disk = self.disk[node.name]
        for n, row in self.open[node.name].items():
            state, end, closed = disk.get(n, (-1, None, 0))
            if row.state in (R, P, E) and (state, end, bool(closed)) != (int(row.state), row.end, row.closed):
                on_disk = State(state).name if state >= 0 else "absent"
                self.wrong(
                    f"{node.name}: row {n} {row.step} {row.event.id[:5]} is {row.state.name} and on the disk {on_disk} {end} {closed}"
                )

    def _on_disk(self, node: TownNode, key: Key) -> tuple[str | None, int, int] | None:
        sql = "SELECT ending, closed, attempts FROM row WHERE event = ? AND pipeline = ? AND step = ? AND slot = ?"
        found = node.p.journal.query(sql, *key)
        return found[0] if found else None

    # -- messages -----------------------------------------------------------------------------------------------------

    def sent(self, source: str, target: str, verb: str, body: bytes) -> None:
        """A request leaves a node."""
        if verb == "pipeline.report":
            for r in msgspec.msgpack.decode(body, type=list[Report]):
                found = self._on_disk(self.town.nodes[source], (r.event, r.pipeline, r.step, r.slot))
                if found is None or found[0] != r.end or (r.phase == 2 and not found[1]):
                    self.wrong(
                        f"{source} reports {r.step} {r.event[:5]} as {r.end} ({r.phase}) and its disk says {found}"
                    )

    def begun(self, number: int, source: str, target: str, verb: str, body: bytes) -> None:
        """A handler has done what it does before it waits for the disk."""
        node = self.town.nodes[target]
        if node.up and verb == "pipeline.report":
            self.told[number] = self._told_of(node, body)

    def _told_of(self, node: TownNode, body: bytes) -> list[tuple[Key, str | None, int]]:
        keys = [(r.event, r.pipeline, r.step, r.slot) for r in msgspec.msgpack.decode(body, type=list[Report])]
        rows = [(key, known_row(node.p.journal, key)) for key in keys]
        return [(key, row.end, row.attempts) for key, row in rows if row is not None]

    def served(self, number: int, source: str, target: str, verb: str, body: bytes, answer: bytes) -> None:
        """A request was served, and its answer is about to leave."""
        node = self.town.nodes[target]
        if not node.up:
            return
        if verb == "pipeline.deliver":
            items = msgspec.msgpack.decode(body, type=DeliverRequest).items
            for item, verdict in zip(items, msgspec.msgpack.decode(answer, type=list[Verdict]), strict=True):
                event = decode_event(item.event)
                key = (event.id, item.pipeline, item.step, item.slot)
                self.note(
                    f"{source} delivers {item.step} {event.id[:5]} to {target}: {verdict.status} {verdict.detail}"
                )
                if verdict.status == "accepted":
                    self._accepted(node, key)
        elif verb == "pipeline.report":
            for r in msgspec.msgpack.decode(body, type=list[Report]):
                self.note(f"{source} reports {r.step} {r.event[:5]} to {target}: {r.end} {r.phase} free={r.free}")
            told = self.told.pop(number, None)
            for key, end, attempts in self._told_of(node, body) if told is None else told:
                found = self._on_disk(node, key)
                if found is None or (end is not None and found[0] is None) or found[2] < attempts:
                    self.wrong(f"{node.name} has heard that {key} is {end} ({attempts}) and its disk says {found}")

    def _accepted(self, node: TownNode, key: Key) -> None:
        found, row = self._on_disk(node, key), known_row(node.p.journal, key)
        if found is None:
            self.wrong(f"{node.name} accepts {key} and it is not on its disk")
        elif row is not None and row.open and found[0] is not None and node.storage.idle:
            self.wrong(f"{node.name} takes {key} up again and its disk says {found[0]}")

    def ran(self, node: str, event: Event) -> None:
        """A program answered."""
        self.runs[event.id, node] += 1

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """All is quiet: what was accepted has an end that is true, and nothing got lost on the way."""
        town = self.town
        by_key: dict[tuple[Key, str], Row] = {}
        for node in town.nodes.values():
            for row in every_row(node.p.journal):
                by_key[row.key, node.name] = row
                if self.ends[node.name][row.n] != 1:
                    self.wrong(f"{node.name}: row {row.n} {row.step} has {self.ends[node.name][row.n]} ends")
        events = {key[0] for key, _ in by_key}
        matched = {(name, row.parent) for (_, name), row in by_key.items() if row.matched}
        for (key, name), row in by_key.items():
            who = f"{name}: row {row.n} {row.step} {row.event.id[:5]}"
            if row.end == "delivered":
                self._true(who, row, name, by_key, events)
            if (name, row.n) in matched and not row.matched:
                self.wrong(f"{who} led to a match and does not know it")
        for node in town.nodes.values():
            self._blobs(node)

    def _true(self, who: str, row: Row, name: str, by_key: dict[tuple[Key, str], Row], events: set[str]) -> None:
        """A row that says delivered was run, here or there, and what came of it is known somewhere."""
        town, step = self.town, self.town.pipeline.step(row.step)
        assert step is not None
        if row.target not in ("", name):
            there = by_key.get((row.key, row.target))
            if there is None or there.end != "delivered":
                self.wrong(f"{who} is delivered by {row.target}, which says {there.end if there else 'nothing'}")
            elif there.matched and not row.matched:
                self.wrong(f"{who} led to a match on {row.target} and does not know it")
            return
        if step.kind == "sink":
            if not town.alerts[event_id(row.version, row.step, row.event.id, "alert")]:
                self.wrong(f"{who} is delivered and the sink does not have it")
        elif step.kind in ("wasm", "docker", "process"):
            if not self.runs[row.event.id, name]:
                self.wrong(f"{who} is delivered and did not run")
            for i in range(outputs_of(row.event.id)):
                made = event_id(row.version, row.step, row.event.id, i)
                if town.pipeline.children(row.step) and made not in events:
                    self.wrong(f"{who} is delivered and its output {i} is nowhere")

    def _blobs(self, node: TownNode) -> None:
        needed = {b.cid for r in node.p.journal.rows.values() if not r.closed for b in r.event.blobs()}
        if missing := needed - set(node.data):
            self.wrong(f"{node.name}: blobs of rows that are not closed are gone: {missing}")


def _text(seen: Seen | None) -> str:
    if seen is None:
        return "new"
    state, end, closed = seen
    return f"{state.name}{'/' + end if end else ''}{'/closed' if closed else ''}"
