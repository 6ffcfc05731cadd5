from __future__ import annotations

import asyncio

import pytest

from agent.errors import NotFound, Refused
from agent.mesh import Mesh, wire
from agent.mesh.logs import MAX_LINE
from agent.mesh.wire import LogBatch, Sealed
from tests.mesh.building import Building
from tests.support import eventually


async def follow(mesh: Mesh, execution: str, node: str = "") -> tuple[list[str], asyncio.Task[None]]:
    lines: list[str] = []

    async def collect() -> None:
        async for line in mesh.tail_logs(execution, node):
            lines.append(f"{line.text} after {line.lost} lost" if line.lost else line.text)

    task = asyncio.create_task(collect())
    await asyncio.sleep(0)
    return lines, task


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_lines_arrive_on_another_node_in_order_with_gaps_named(building: Building) -> None:
    hall, porch = await building.pair()
    lines, task = await follow(hall, "run-1")

    async def first() -> None:
        while not lines:
            porch.publish_log("run-1", "start")
            await asyncio.sleep(0.1)

    await asyncio.wait_for(first(), 10)
    lines.clear()
    for number in range(400):
        porch.publish_log("run-1", f"line {number}")
    porch.publish_log("run-2", "another execution")
    await eventually(lambda: "line 399" in lines)
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(400)]
    for number in range(1000):
        porch.publish_log("run-1", f"flood {number}")
    await eventually(lambda: "flood 499" in lines)
    assert porch.refused["log lines over the rate"] == 500
    await asyncio.sleep(0.1)
    porch.publish_log("run-1", "after")
    await eventually(lambda: lines[-1].startswith("after"))
    assert lines[-1] == "after after 500 lost"
    await stop(task)
    with pytest.raises(NotFound):
        porch.publish_log("a/b", "x")


async def test_a_line_is_passed_on_whole_or_refused(building: Building) -> None:
    hall, porch = await building.pair()
    lines, task = await follow(hall, "run-1")
    longest = "\N{BUG}" * (MAX_LINE // 4)

    async def first() -> None:
        while not lines:
            porch.publish_log("run-1", longest)
            await asyncio.sleep(0.1)

    await asyncio.wait_for(first(), 10)
    assert set(lines) == {longest}
    with pytest.raises(Refused):
        porch.publish_log("run-1", longest + "x")
    await stop(task)


async def test_lines_in_the_name_of_another_node_are_refused(building: Building) -> None:
    hall, porch = await building.pair()
    lines, task = await follow(hall, "run-1", porch.me.id)
    thief = building.identity("garage")
    content = wire.encode(LogBatch("run-1", porch.me.id, porch.boot, 0, ["forged"]))
    forged = wire.encode(Sealed(content, thief.sign(wire.LOG + content), thief.cert_der))
    async with building.raw_session(thief, "hall") as session:
        async with asyncio.timeout(10):
            while "log lines that are forged or damaged" not in hall.refused:
                session.put(wire.Keys(thief.mesh_id).log("run-1"), forged)
                await asyncio.sleep(0.05)
    porch.publish_log("run-1", "true")
    await eventually(lambda: "true" in lines)
    assert "forged" not in lines
    await stop(task)
