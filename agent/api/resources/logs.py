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
from agent.model.pipeline import MAX_STEPS

log = logging.getLogger(__name__)

FIRST = 10.0
"""Seconds that a node has for the first lines."""
SPARE = 5.0
"""Seconds that an answer may take beyond the time that it waits for a line."""
AGAIN = 2.0
"""Seconds until a node is asked again that did not answer, and between looks for nodes that join."""
PAUSE = 0.1
"""Seconds after an answer with lines, in which more lines come together for the next one."""
FINAL = ("not-operator", "mesh.verb")
"""Codes of a node that is not asked again until it starts again."""
BUFFER = 1000
"""Rows that wait for a slow reader; the nodes are not asked for more meanwhile."""


class Logs:
    """The logs of this node's steps, and for an operator those of all nodes."""

    def __init__(self, mesh: Mesh, definitions: Definitions, reader: Reader) -> None:
        self._mesh, self._definitions, self._reader = mesh, definitions, reader

    async def lines(self, pipeline: str, asked: LogsQuery) -> AsyncIterator[results.LogRow]:
        """The newest lines of all nodes by time, then, with `follow`, new lines of every node, also of nodes that join later.

        Empty `step` or `node`: all. A node that does not answer is a row of the agent, besides the lines. Raises NotFound.
        """
        self._check(pipeline, asked)
        following = _Following(self, pipeline, asked)
        nodes = self._mesh.known() if asked.lines else self._mesh.live()
        nodes = [self._mesh.node(asked.node)] if asked.node else nodes
        request = ReadRequest(pipeline, asked.step, tail=max(1, asked.lines), since=asked.since)
        answers = await asyncio.gather(*(self._first(n, request) for n in nodes), return_exceptions=True)
        rows, unread = list[results.LogRow](), list[results.LogRow]()
        for node, found in zip(nodes, answers, strict=True):
            if isinstance(found, LogLines):
                following.cursors[node.id] = found.next
                rows += _rows(node, found.lines, None)
            elif isinstance(found, EdgeError):
                unread += following.unread(node, found)
            else:
                raise found
        for row in [*(sorted(rows, key=lambda row: row.time)[-asked.lines :] if asked.lines else []), *unread]:
            yield row
        if asked.follow:
            async with aclosing(following.rows()) as new:  # type: ignore[type-var]
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

    async def _first(self, node: NodeRecord, request: ReadRequest) -> LogLines:
        if not self._mesh.is_live(node.id):
            raise Unreachable(f"{node.name} is not alive")
        return await self._read(node, request, FIRST)

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

    def __init__(self, logs: Logs, pipeline: str, asked: LogsQuery) -> None:
        self._logs, self._pipeline, self._asked = logs, pipeline, asked
        self._began = time.monotonic()
        self.cursors: dict[str, dict[str, int]] = {}
        """By node that answered, and step: the number to ask from."""
        self._told: dict[str, str] = {}
        """By node: the error that a row has told."""
        self._refused: set[tuple[str, str]] = set()
        """Nodes, with their boot epochs, that are not asked again."""
        self._rows: asyncio.Queue[results.LogRow] = asyncio.Queue(BUFFER)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def unread(self, node: NodeRecord, error: EdgeError) -> list[results.LogRow]:
        """The row that tells a node's error, unless it is the error that was told last."""
        if error.code in FINAL:
            self._refused.add((node.id, node.boot))
        told, self._told[node.id] = self._told.get(node.id), error.message
        if told == error.message:
            return []
        text = f"the log of this node cannot be read: {error.message}"
        return [results.LogRow(node=node.name, time=now(), step=self._asked.step, line=text, stream="agent")]

    async def rows(self) -> AsyncIterator[results.LogRow]:
        """New lines, without end."""
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
                refused = (node.id, node.boot) in self._refused
                if not refused and (node.id not in self._tasks or self._tasks[node.id].done()):
                    self._tasks[node.id] = asyncio.create_task(self._follow(node), name=f"log of {node.name}")
            await asyncio.sleep(AGAIN)

    async def _follow(self, node: NodeRecord) -> None:
        """Until it does not answer: the watch begins again while it is alive."""
        while True:
            cursor = self.cursors.get(node.id)
            since = 0.0 if cursor is not None else max(0.001, time.monotonic() - self._began)
            asked_at = time.monotonic()
            try:
                found = await self._logs.next_lines(node, self._pipeline, self._asked.step, cursor or {}, since)
            except EdgeError as e:
                log.debug("the log of %s: %s", node.name, e)
                for row in self.unread(node, e):
                    await self._rows.put(row)
                return
            self._told.pop(node.id, None)
            # No more names than a request may have: another version, or a hostile node, may answer with any.
            self.cursors[node.id] = dict([*{**(cursor or {}), **found.next}.items()][-MAX_STEPS:])
            for row in _rows(node, found.lines, cursor):
                await self._rows.put(row)
            if found.lines:
                await asyncio.sleep(PAUSE)
            elif time.monotonic() - asked_at < 1.0:
                await asyncio.sleep(AGAIN)


def _rows(node: NodeRecord, lines: list[LogLine], cursor: dict[str, int] | None) -> list[results.LogRow]:
    """The lines as rows that count the missing lines before them; those before a step's first only where `cursor` is known."""
    made = []
    before = dict(cursor or {})
    for line in lines:
        last = before.get(line.step, 0 if cursor is not None else line.n - 1)
        before[line.step] = line.n
        missed = max(0, min(line.n - last - 1, 1 << 32))
        made.append(
            results.LogRow(
                node=node.name, time=line.time, step=line.step, line=line.text, missed=missed, stream=line.stream,
                event=line.event, execution=line.execution,
            )
        )  # fmt: skip
    return made
