"""Two nodes with the logs of a pipeline, their followers, and the requests between them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from agent.api.requests import LogsQuery
from agent.api.resources import logs as module
from agent.api.results import LogRow
from agent.errors import EdgeError
from agent.logs import LogLines, ReadRequest
from agent.node import Node
from tests.node.site import Site
from tests.support import load_pipeline

PIPELINE = """
version: 1
name: p
steps:
  wifi: {tail: /nowhere, wasm: {module: m.wasm}}
  other: {after: wifi, sink: }
"""


async def both(site: Site) -> tuple[Node, Node]:
    hall, porch = await site.start("hall"), await site.start("porch")
    for node in (hall, porch):
        node.delivery.engine.definitions.apply("p", msgspec.json.encode(load_pipeline(PIPELINE)))
    return hall, porch


def write(node: Node, text: str, step: str = "wifi") -> None:
    node.delivery.logs.of("p", "v", step).line(text, "stderr", "e1")


async def rows(node: Node, asked: LogsQuery) -> list[LogRow]:
    return [row async for row in node.api.logs.lines("p", asked)]


class Follower:
    """A follower, and what it was given so far."""

    def __init__(self, of: Node, **asked: Any) -> None:
        self.rows: list[LogRow] = []
        self._task = asyncio.create_task(self._run(of, LogsQuery(follow=True, **asked)))

    async def _run(self, of: Node, asked: LogsQuery) -> None:
        async with aclosing(of.api.logs.lines("p", asked)) as lines:  # type: ignore[type-var]
            async for row in lines:
                self.rows.append(row)

    @property
    def lines(self) -> list[str]:
        return [row.line for row in self.rows if row.stream != "agent"]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Reads:
    """The requests that `hall` sends for porch's log; `answers` are raised by the first of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hall: Node, *answers: EdgeError) -> None:
        self.requests: list[ReadRequest] = []
        real = module.Logs._read

        async def read(logs: Any, node: Any, request: ReadRequest, timeout: float) -> LogLines:
            if node.id == hall.mesh.me.id:
                return await real(logs, node, request, timeout)
            self.requests.append(request)
            if len(self.requests) <= len(answers):
                raise answers[len(self.requests) - 1]
            return await real(logs, node, request, timeout)

        monkeypatch.setattr(module.Logs, "_read", read)
        monkeypatch.setattr(module, "AGAIN", 0.01)
