"""Reading the logs of this node, for the local API and for operators on other nodes."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec

from agent.errors import Refused
from agent.logs.files import files_of, lines_of
from agent.logs.store import LogStore
from agent.logs.wire import MAX_ANSWER, MAX_LINES, MAX_WAIT, LogLine, LogLines, ReadRequest
from agent.model.decoding import DAMAGED
from agent.model.event import rfc3339
from agent.model.pipeline import MAX_STEPS, NAME

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests of other nodes that are served, or wait, at a time."""


class Reader:
    """Answers `log.read`."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._serving = 0

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
        if self._serving >= AT_ONCE:
            raise Refused("too many readers of logs", code="busy", hint="try again in a moment")
        self._serving += 1
        try:
            return msgspec.msgpack.encode(await self.read(request))
        finally:
            self._serving -= 1

    async def read(self, request: ReadRequest) -> LogLines:
        """The lines after the given numbers; without one, wait for the next. Raises Refused for invalid names."""
        _check(request)
        until = asyncio.get_running_loop().time() + min(request.wait, MAX_WAIT)
        with self._store.waiting(request.pipeline) as changed:
            while True:
                changed.clear()
                found = await self._now(request)
                left = until - asyncio.get_running_loop().time()
                if found.lines or left <= 0:
                    return found
                try:
                    async with asyncio.timeout(left):
                        await changed.wait()
                except TimeoutError:
                    return found

    async def _now(self, request: ReadRequest) -> LogLines:
        store, pipeline = self._store, request.pipeline
        made = LogLines([])
        streams: list[list[LogLine]] = []
        for step in [request.step] if request.step else store.steps(pipeline)[:MAX_STEPS]:
            after = request.after.get(step, 0)
            last = store.last(pipeline, step)
            after = 0 if after > last else after  # the log started again
            made.next[step] = last if after == last else after
            lines = store.recent(pipeline, step, after)
            if after < last and (not lines or lines[0].n > after + 1):
                await store.write()
                stored = await asyncio.to_thread(self._stored, pipeline, step, after, last)
                lines = stored + store.recent(pipeline, step, stored[-1].n if stored else after)
            streams.append(lines)
        lines = _newer(heapq.merge(*streams, key=lambda line: line.time), request.since)
        lines = lines[-request.tail :] if request.tail else lines
        made.lines = _fitting(lines, newest=bool(request.tail))
        self._count(request, made)
        return made

    def _stored(self, pipeline: str, step: str, after: int, last: int) -> list[LogLine]:
        """The stored lines after the number `after`: those until `last`, and newer lines as far as none is missing."""
        found: list[LogLine] = []
        for path in files_of(self._store.folder / pipeline / step):
            try:
                found += [line for line in lines_of(path, step) if line.n > after]
            except OSError as e:
                log.debug("%s cannot be read: %s", path, e)
        found.sort(key=lambda line: line.n)
        # A file that was read early may lack a line that was written before the newest line of a file that was read late.
        for before, line in pairwise(found):
            if line.n > max(last, before.n + 1):
                return found[: found.index(line)]
        return found

    def _count(self, request: ReadRequest, made: LogLines) -> None:
        for step in made.next:
            mine = [line.n for line in made.lines if line.step == step]
            after = request.after.get(step, 0)
            if mine:
                made.next[step] = mine[-1]
                if after and not request.tail and mine[0] > after + 1:
                    made.lost[step] = mine[0] - after - 1
            elif request.tail or request.since:
                made.next[step] = self._store.last(request.pipeline, step)


def _check(request: ReadRequest) -> None:
    names = [request.pipeline, *([request.step] if request.step else []), *request.after]
    if not all(NAME.fullmatch(name) for name in names) or len(request.after) > MAX_STEPS:
        raise Refused("a name in the request is not the name of a pipeline or step", code="bad")
    if not (request.wait >= 0 and request.since >= 0 and 0 <= request.tail <= MAX_LINES):
        raise Refused("a number in the request is out of range", code="bad")


def _newer(lines: Iterable[LogLine], since: float) -> list[LogLine]:
    if not since:
        return list(lines)
    oldest = rfc3339(time.time() - min(since, 1e9))
    return [line for line in lines if line.time >= oldest]


def _fitting(lines: list[LogLine], *, newest: bool) -> list[LogLine]:
    """As many lines as one answer may hold, the newest or the oldest of them."""
    kept: list[LogLine] = []
    size = 0
    for line in reversed(lines) if newest else lines:
        size += len(line.text.encode()) + len(line.event) + 100
        if size > MAX_ANSWER or len(kept) >= MAX_LINES:
            break
        kept.append(line)
    return kept[::-1] if newest else kept
