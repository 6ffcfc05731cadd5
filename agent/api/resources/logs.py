"""The logs of steps, read from every node that has them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from agent.api import results
from agent.api.requests import LogsQuery
from agent.api.resources.common import known
from agent.definitions import Definitions
from agent.errors import EdgeError, NotFound, Unreachable
from agent.logs import MAX_WAIT, LogLine, LogLines, Reader, ReadRequest
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.event import now
from agent.model.node import NodeRecord

log = logging.getLogger(__name__)

FIRST = 10.0
"""Seconds that a node has for the first lines."""
SPARE = 5.0
"""Seconds that an answer may take beyond the time that it waits for a line."""
AGAIN = 2.0
"""Seconds until a node is asked again that did not answer, and between looks for nodes that join."""
BUFFER = 1000
"""Rows that wait for a slow reader; the nodes are not asked for more meanwhile."""


class Logs:
    """The logs of this node's steps, and for an operator those of all nodes."""

    def __init__(self, mesh: Mesh, definitions: Definitions, reader: Reader) -> None:
        self._mesh, self._definitions, self._reader = mesh, definitions, reader

    async def lines(self, pipeline: str, asked: LogsQuery) -> AsyncIterator[results.LogRow]:
        """The newest lines of all nodes by time, then, with `follow`, new lines of every node, also of nodes that join later.

        Empty `step` or `node`: all. A node that does not answer is a row of the agent. Raises NotFound.
        """
        self._check(pipeline, asked)
        began, cursors, rows = time.monotonic(), dict[str, dict[str, int]](), list[results.LogRow]()
        nodes = [self._mesh.node(asked.node)] if asked.node else self._mesh.live()
        request = ReadRequest(pipeline, asked.step, tail=max(1, asked.lines), since=asked.since)
        answers = await asyncio.gather(*(self._read(n, request, FIRST) for n in nodes), return_exceptions=True)
        for node, found in zip(nodes, answers, strict=True):
            if isinstance(found, LogLines):
                cursors[node.id] = found.next
                rows += [_row(node, line) for line in found.lines]
            elif isinstance(found, EdgeError):
                rows.append(_unread(node, asked, found))
            else:
                raise found
        for row in sorted(rows, key=lambda row: row.time)[-asked.lines :] if asked.lines else []:
            yield row
        if asked.follow:
            async with aclosing(_Following(self, pipeline, asked, cursors, began).rows()) as new:  # type: ignore[type-var]
                async for row in new:
                    yield row

    def _check(self, pipeline: str, asked: LogsQuery) -> None:
        current = self._definitions.current.get(pipeline)
        if current is None:
            raise NotFound(f"there is no pipeline {pipeline}", hint=known(self._definitions.current))
        if asked.step and current.step(asked.step) is None:
            raise NotFound(f"{pipeline} has no step {asked.step}", hint=known(s.name for s in current.steps))

    def nodes(self, asked: LogsQuery) -> list[NodeRecord]:
        """The live nodes whose logs are asked for."""
        return [n for n in self._mesh.live() if asked.node in ("", n.name, n.id)]

    async def _read(self, node: NodeRecord, request: ReadRequest, timeout: float) -> LogLines:
        if node.id == self._mesh.me.id:
            return await self._reader.read(request)
        body = await self._mesh.call(node.id, "log.read", msgspec.msgpack.encode(request), timeout=timeout)
        try:
            return msgspec.msgpack.decode(body, type=LogLines)
        except DAMAGED as e:
            raise Unreachable(f"{node.name} sent no log: {e}", hint="it may run another version") from None

    async def next_lines(
        self, node: NodeRecord, pipeline: str, step: str, after: dict[str, int], since: float
    ) -> LogLines:
        """The next lines of a node, as soon as there are some; raises EdgeError."""
        request = ReadRequest(pipeline, step, after, since=since, wait=MAX_WAIT)
        return await self._read(node, request, MAX_WAIT + SPARE)


class _Following:
    """Asks every node for its next lines, each by a task, and gives the rows in the order in which they come."""

    def __init__(
        self, logs: Logs, pipeline: str, asked: LogsQuery, cursors: dict[str, dict[str, int]], began: float
    ) -> None:
        self._logs, self._pipeline, self._asked = logs, pipeline, asked
        self._cursors, self._began = cursors, began
        self._rows: asyncio.Queue[results.LogRow] = asyncio.Queue(BUFFER)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def rows(self) -> AsyncIterator[results.LogRow]:
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                yield await self._rows.get()
        finally:
            tasks = [watch, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            for node in self._logs.nodes(self._asked):
                if node.id not in self._tasks or self._tasks[node.id].done():
                    self._tasks[node.id] = asyncio.create_task(self._follow(node), name=f"log of {node.name}")
            await asyncio.sleep(AGAIN)

    async def _follow(self, node: NodeRecord) -> None:
        """Until it does not answer: the watch begins again while it is alive."""
        cursor = self._cursors.get(node.id)
        while True:
            since = 0.0 if cursor is not None else max(0.001, time.monotonic() - self._began)
            asked_at = time.monotonic()
            try:
                found = await self._logs.next_lines(node, self._pipeline, self._asked.step, cursor or {}, since)
            except EdgeError as e:
                log.debug("the log of %s: %s", node.name, e)
                if cursor is not None or node.id not in self._cursors:
                    await self._rows.put(_unread(node, self._asked, e))
                    self._cursors.setdefault(node.id, {})
                return
            cursor = self._cursors[node.id] = {**(cursor or {}), **found.next}
            lost = sum(found.lost.values())
            for line in found.lines:
                await self._rows.put(_row(node, line, lost))
                lost = 0
            if not found.lines and time.monotonic() - asked_at < 1.0:
                await asyncio.sleep(AGAIN)


def _row(node: NodeRecord, line: LogLine, missed: int = 0) -> results.LogRow:
    return results.LogRow(
        node=node.name, time=line.time, step=line.step, line=line.text, missed=missed, stream=line.stream,
        event=line.event, execution=line.execution,
    )  # fmt: skip


def _unread(node: NodeRecord, asked: LogsQuery, error: EdgeError) -> results.LogRow:
    text = f"the log of this node cannot be read: {error.message}"
    return results.LogRow(node=node.name, time=now(), step=asked.step, line=text, stream="agent")
