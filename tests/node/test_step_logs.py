"""Logs of steps over the mesh: operators read every node's, live and afterwards; members read their own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from agent.api.requests import LogsQuery
from agent.api.results import LogRow
from agent.model.event import now
from agent.node import Node
from tests.node.site import Site
from tests.support import eventually, load_pipeline

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
        node.delivery.engine.definitions.current["p"] = load_pipeline(PIPELINE)
    return hall, porch


def write(node: Node, text: str, step: str = "wifi") -> None:
    node.delivery.logs.of("p", "v", step).line(text, "stderr", "e1")


async def rows(node: Node, asked: LogsQuery) -> list[LogRow]:
    return [row async for row in node.api.logs.lines("p", asked)]


async def test_an_operator_reads_the_logs_of_all_nodes_by_time(site: Site) -> None:
    hall, porch = await both(site)
    for n, node in enumerate((hall, porch, hall, porch)):
        write(node, f"line {n}", "wifi" if n % 2 else "other")
        before = now()
        await eventually(lambda before=before: now() > before)
    found = await rows(hall, LogsQuery(lines=3))
    assert [(r.node, r.step, r.line) for r in found] == [
        ("porch", "wifi", "line 1"), ("hall", "other", "line 2"), ("porch", "wifi", "line 3"),
    ]  # fmt: skip
    assert (found[0].event, found[0].stream, bool(found[0].execution)) == ("e1", "stderr", True)
    assert [r.line for r in await rows(hall, LogsQuery("other"))] == ["line 0", "line 2"]
    assert [r.line for r in await rows(hall, LogsQuery(node="porch"))] == ["line 1", "line 3"]


async def test_a_follower_gets_lines_of_another_node_at_once(site: Site) -> None:
    hall, porch = await both(site)
    write(porch, "before")
    async with aclosing(hall.api.logs.lines("p", LogsQuery(follow=True))) as lines:  # type: ignore[type-var]
        assert (await anext(lines)).line == "before"
        for n in range(20):
            following = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0)
            write(porch, f"line {n}")
            async with asyncio.timeout(10):
                assert (await following).line == f"line {n}"


async def test_a_restarted_node_goes_on_with_its_log(site: Site) -> None:
    hall, porch = await both(site)
    write(porch, "before")
    await site.stop("porch")
    porch = await site.start("porch")
    porch.delivery.engine.definitions.current["p"] = load_pipeline(PIPELINE)
    write(porch, "after")
    await eventually(lambda: len(hall.mesh.live()) == 2, 20)
    assert [r.line for r in await rows(hall, LogsQuery(node="porch"))][-1] == "after"


async def test_a_member_reads_its_own_log_and_is_told_about_the_others(site: Site) -> None:
    hall, porch = await both(site)
    write(hall, "secret of hall")
    write(porch, "own line")
    found = await rows(porch, LogsQuery())
    assert [r.line for r in found if r.stream != "agent"] == ["own line"]
    (told,) = [r for r in found if r.stream == "agent"]
    assert (told.node, "porch is not an operator" in told.line) == ("hall", True)


async def test_lost_lines_are_in_the_status(site: Site) -> None:
    hall, _ = await both(site)
    hall.delivery.logs.lost = 3
    status = await hall.api.status.show()
    assert status.logs is not None
    assert status.logs.lost == 3
