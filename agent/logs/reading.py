"""Reading the logs of this node, for the local API and for operators on other nodes."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.errors import Refused
from agent.logs.files import newest, oldest_first
from agent.logs.store import LogStore
from agent.logs.wire import MAX_ANSWER, MAX_LINES, MAX_WAIT, LogLine, LogLines, ReadRequest
from agent.model.decoding import DAMAGED
from agent.model.event import rfc3339
from agent.model.pipeline import MAX_STEPS, NAME

AT_ONCE = 16
"""Requests of one node that wait for a line at a time; one more ends the wait of the oldest, which its node may have given up."""


@dataclass(frozen=True)
class _Snapshot:
    """A step at one moment: `recent` are its newest lines in memory, without a gap, up to `last`."""

    step: str
    after: int
    last: int
    recent: list[LogLine]

    @property
    def first(self) -> int:
        """The number from which on memory has every line."""
        return self.recent[0].n if self.recent else self.last + 1


class Reader:
    """Answers `log.read`."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._waiting: dict[str, list[asyncio.Timeout]] = {}
        self._disk = asyncio.Lock()
        """One request reads files at a time: they are bounded together as one is."""

    async def serve(self, peer: Any, body: bytes) -> bytes:
        """Answer an operator on another node; raises Refused."""
        if not peer.is_operator:
            raise Refused(
                f"{peer.name} is not an operator and cannot read logs", code="not-operator", hint="ask on an operator"
            )
        try:
            request = msgspec.msgpack.decode(body, type=ReadRequest)
        except DAMAGED as e:
            raise Refused(f"not a request for a log: {e}", code="bad") from None
        return msgspec.msgpack.encode(await self.read(request, peer.id))

    async def read(self, request: ReadRequest, node: str = "") -> LogLines:
        """The lines after the given numbers; without one, wait for the next. Raises Refused for invalid names.

        `node` is the node that asks, if it is another.
        """
        _check(request)
        loop = asyncio.get_running_loop()
        until = loop.time() + min(request.wait, MAX_WAIT)
        with self._store.waiting(request.pipeline) as changed:
            while True:
                changed.clear()
                found = await self._now(request)
                left = until - loop.time()
                if found.lines or left <= 0:
                    return found
                try:
                    async with asyncio.timeout(left) as limit:
                        with self._waits(node, limit):
                            await changed.wait()
                except TimeoutError:
                    return found

    @contextmanager
    def _waits(self, node: str, limit: asyncio.Timeout) -> Iterator[None]:
        mine = self._waiting.setdefault(node, [])
        if node and len(mine) >= AT_ONCE and not mine[0].expired():
            mine.pop(0).reschedule(0)
        mine.append(limit)
        try:
            yield
        finally:
            if limit in mine:
                mine.remove(limit)
            if not mine:
                self._waiting.pop(node, None)

    async def _now(self, request: ReadRequest) -> LogLines:
        store, pipeline = self._store, request.pipeline
        steps = [request.step] if request.step else store.steps(pipeline)[:MAX_STEPS]
        # All before the first wait: lines that come meanwhile belong to the next answer.
        snapshots = [self._snapshot(pipeline, step, request.after.get(step, 0)) for step in steps]
        oldest = rfc3339(time.time() - min(request.since, 1e9)) if request.since else ""
        count = request.tail or MAX_LINES
        kept: list[LogLine] = []
        first: dict[str, int] = {}
        for snapshot in snapshots:
            found = await self._lines(pipeline, snapshot, request.tail, oldest)
            if found:
                first[snapshot.step] = found[0].n
            kept = _merged(kept, found, count, backwards=bool(request.tail))
        if len(kept) > count or _size(kept) > MAX_ANSWER:
            kept = kept[1:] if request.tail else kept[:-1]
        made = LogLines(kept, {s.step: s.last for s in snapshots})
        if not request.tail:
            _go_on(made, first, snapshots)
        return made

    def _snapshot(self, pipeline: str, step: str, after: int) -> _Snapshot:
        last = self._store.last(pipeline, step)
        after = 0 if after > last else after  # the log started again
        return _Snapshot(step, after, last, self._store.recent(pipeline, step, after))

    async def _lines(self, pipeline: str, it: _Snapshot, tail: int, oldest: str) -> list[LogLine]:
        """The lines of a step: with `tail` its newest, else its oldest; enough to see that an answer has no room for more."""
        known = [line for line in it.recent if line.time >= oldest]
        if it.after + 1 >= it.first or (tail and (len(known) >= tail or len(known) < len(it.recent))):
            return known
        folder = self._store.folder / pipeline / it.step

        def stored() -> list[LogLine]:
            if tail:
                return newest(folder, it.step, it.first, tail, oldest)
            lines = oldest_first(folder, it.step, it.after, it.first)
            return _until_full((line for line in lines if line.time >= oldest), MAX_LINES)

        async with self._disk:
            await self._store.write()
            return await asyncio.to_thread(stored) + known


def _go_on(made: LogLines, first: dict[str, int], snapshots: list[_Snapshot]) -> None:
    """Set `next` to the last line that is in the answer, and past lines that are too old, but not past those without room."""
    for line in made.lines:
        made.next[line.step] = line.n
    answered = {line.step for line in made.lines}
    for it in snapshots:
        if it.step in first and it.step not in answered:
            made.next[it.step] = first[it.step] - 1


def _check(request: ReadRequest) -> None:
    names = [request.pipeline, *([request.step] if request.step else []), *request.after]
    if not all(NAME.fullmatch(name) for name in names) or len(request.after) > MAX_STEPS:
        raise Refused("a name in the request is not the name of a pipeline or step", code="bad")
    if not (request.wait >= 0 and request.since >= 0 and 0 <= request.tail <= MAX_LINES):
        raise Refused("a number in the request is out of range", code="bad")


def _merged(kept: list[LogLine], found: list[LogLine], count: int, *, backwards: bool) -> list[LogLine]:
    """Both by time, as far as an answer can need them, `backwards` from the newest."""
    lines = list(heapq.merge(kept, found, key=lambda line: line.time))
    return _until_full(reversed(lines), count)[::-1] if backwards else _until_full(lines, count)


def _until_full(lines: Iterable[LogLine], count: int) -> list[LogLine]:
    """The first lines, up to the one for which an answer has no room."""
    kept: list[LogLine] = []
    size = 0
    for line in lines:
        kept.append(line)
        size += _cost(line)
        if size > MAX_ANSWER or len(kept) > count:
            break
    return kept


def _size(lines: list[LogLine]) -> int:
    return sum(map(_cost, lines))


def _cost(line: LogLine) -> int:
    return len(line.text.encode()) + len(line.event) + 100
