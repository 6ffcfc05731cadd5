"""One decider for each key: `dedupe`, `cooldown` and presence ask the live node that the key's hash ranks first.

The decider writes key → first event before it answers and answers "first" for that event to every repeated question. Before it takes a
key that it does not know, it tells the next two in the ranking; they keep the record, and answer with an older one if they have
it. So the loss or the return of a decider lets a repeat through only when three nodes forgot at once; in a partition each half decides
alone.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agent.clock import boottime
from agent.delivery.context import MeshLike
from agent.delivery.decisions import Decision, inward, is_window, merge, outward
from agent.delivery.journal import Journal
from agent.delivery.records import Records
from agent.delivery.validation import MAX_WINDOW, check_question, check_record, decoded
from agent.delivery.wire import Question, Record
from agent.errors import EdgeError, Refused, Unreachable
from agent.model.placement import rank

log = logging.getLogger(__name__)

WITNESSES = 2
TIMEOUT = 2.0
MAX_RECORDS = 200_000
ASKED = 4
"""How many nodes of the ranking are asked to decide, one after the other."""
_INSERT = "INSERT OR REPLACE INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)"


class Deciders:
    """The records of this node, and calls for those of other nodes."""

    def __init__(
        self,
        node_id: str,
        mesh: MeshLike,
        journal: Journal,
        longest: Callable[[str, str], float | None] = lambda scope, key: MAX_WINDOW,
    ) -> None:
        """`longest`: the longest time of a record of (scope, key); None where no pipeline has such records."""
        self.node_id = node_id
        self.mesh = mesh
        self.journal = journal
        self.records = Records()
        self.longest = longest
        self._busy = KeyedLocks()
        mesh.serve("pipeline.decide", self._decide)
        mesh.serve("pipeline.remember", self._remember)

    def load(self) -> None:
        """Read what the journal holds."""
        now = boottime()
        sql = "SELECT scope, key, first, at, until, present, value FROM decision WHERE until > ?"
        for scope, key, first, at, until, present, value in self.journal.query(sql, now):
            self.records[scope, key] = Decision(scope, key, first, at, until, bool(present), msgspec.json.decode(value))
        self.journal.storage.write(lambda db: db.execute("DELETE FROM decision WHERE until <= ?", (now,)))

    async def first(self, scope: str, key: str, event: str, seconds: float) -> bool:
        """Whether this event is the first of its key within `seconds`; raises Unreachable when no node can decide."""
        body = msgspec.msgpack.encode(Question(scope, key, event, seconds))
        for node in rank(f"{scope}\0{key}", self.mesh.live(), weighed=False)[:ASKED]:
            try:
                if node.id == self.node_id:
                    return await self.decide(Question(scope, key, event, seconds)) == event
                answer = await self.mesh.call(node.id, "pipeline.decide", body, timeout=TIMEOUT)
                return bool(decoded(answer, str) == event)
            except EdgeError as e:
                log.debug("%s does not decide: %s", node.name, e)
        raise Unreachable("no decider of this key is reachable", hint="it is tried again until the deadline")

    async def decide(self, question: Question) -> str:
        """Decide here: the first event of the key; the asking event if there was none."""
        at = (question.scope, question.key)
        async with self._busy.hold(at):
            now = boottime()
            known = self.records.get(at)
            if known is not None and known.until > now:
                return known.first
            mine = Decision(question.scope, question.key, question.event, now, now + question.seconds)
            best: Decision
            best, _ = await asyncio.gather(self.witnessed(mine), self.keep(mine))
            kept: Decision = mine
            while (
                best := merge(best, self.records.get(at, best))
            ) is not kept:  # meanwhile other nodes may have sent a record
                await self.keep(best)
                kept = best
            return best.first

    async def witnessed(self, mine: Decision, witnesses: int = WITNESSES) -> Decision:
        """Send the record to the next nodes in the ranking; the best valid record of them all counts (see `merge`)."""
        others = [n for n in rank(f"{mine.scope}\0{mine.key}", self.mesh.live(), weighed=False) if n.id != self.node_id]
        body = msgspec.msgpack.encode(outward(mine))
        best = mine
        for answer in await asyncio.gather(*(self._tell(n.id, body) for n in others[:witnesses])):
            if answer is None or (answer.scope, answer.key) != (mine.scope, mine.key):
                continue
            if (told := inward(answer)).until > boottime():
                best = merge(best, told)
        return best

    async def _tell(self, node: str, body: bytes) -> Record | None:
        try:
            record: Record = decoded(await self.mesh.call(node, "pipeline.remember", body, timeout=TIMEOUT), Record)
            check_record(record)
            self._check_scope(record.scope, record.key, record.left)
            return record
        except EdgeError as e:
            log.debug("%s does not witness: %s", node, e)
            return None

    def keep(self, record: Decision) -> asyncio.Future[Any]:
        """Write a record; resolves when it is on the disk."""
        self.records[record.scope, record.key] = record
        values = (
            record.scope, record.key, record.first, record.at, record.until, record.present, msgspec.json.encode(dict(record.value))
        )  # fmt: skip
        if len(self.records) > MAX_RECORDS:
            self.sweep()
        return self.journal.storage.write(lambda db: db.execute(_INSERT, values))

    def sweep(self) -> None:
        """Forget expired records, and the records that end first when there are still too many."""
        now = boottime()
        by_end = sorted(self.records.ends(), key=lambda end: end[1])
        over = max(0, len(by_end) - MAX_RECORDS * 9 // 10)
        gone = [k for i, (k, until) in enumerate(by_end) if until <= now or i < over]
        for k in gone:
            del self.records[k]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM decision WHERE scope = ? AND key = ?", gone)

        self.journal.storage.write(write)

    async def _decide(self, peer: Any, body: bytes) -> bytes:
        question = decoded(body, Question)
        check_question(question)
        self._check_scope(question.scope, question.key, question.seconds)
        return msgspec.msgpack.encode(await self.decide(question))

    async def _remember(self, peer: Any, body: bytes) -> bytes:
        """Keep the record and answer with the one that counts now; an expired record is only a question."""
        record = decoded(body, Record)
        check_record(record)
        self._check_scope(record.scope, record.key, record.left)
        self._check_sender(peer.id, record)
        told = inward(record)
        known = self.records.get((told.scope, told.key))
        if told.until <= boottime():
            return msgspec.msgpack.encode(outward(known if known is not None else told))
        best = merge(told, known) if known is not None else told
        if best is not known:
            await self.keep(best)
        return msgspec.msgpack.encode(outward(best))

    def _check_scope(self, scope: str, key: str, seconds: float) -> None:
        """No member may use a longer window than the pipeline has, or a window that the pipeline does not have."""
        longest = self.longest(scope, key)
        if longest is None or seconds > longest + 1.0:
            raise Refused(
                "no pipeline on this node has this window", code="not-allowed", hint="the pipeline may arrive soon"
            )

    def _check_sender(self, node_id: str, record: Record) -> None:
        """Only a possible decider of the key may send its records; the views of two nodes differ by a node or two for a moment."""
        if not is_window(record.scope):
            return  # decided by the nodes that run the step
        ranked = rank(f"{record.scope}\0{record.key}", self.mesh.live(), weighed=False)[: ASKED + WITNESSES]
        if node_id not in (n.id for n in ranked):
            raise Refused("this node does not decide about the key", code="not-allowed")


class KeyedLocks:
    """One lock for each key that is held or waited for."""

    def __init__(self) -> None:
        self._locks: dict[Any, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: Any) -> AsyncIterator[None]:
        """Hold the key's lock."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)
