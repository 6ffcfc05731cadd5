"""One hop of an event between two agents: journalled, signed, delivered, journalled there, acknowledged.

Both are whole agents in separate processes (this process is the producer). Each event enters a pipeline here and its step
runs on the other node, in a program that answers at once. The hop ends when the other node has answered that the event is
on its disk. First there is one event at a time, then as many as the delivery takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from agent.api.requests import Source
from agent.delivery.changes import Changes
from agent.delivery.rows import State
from bench.figure import Figure, spread
from bench.pair import Pair, pair

PIPELINE = """\
version: 1
name: bench
steps:
  here: {tail: /nowhere/messages, where: node=near, wasm: {module: ROOT/build/filters/wifi-join.wasm}}
  there:
    after: here
    where: far=true
    process: {command: COMMAND}
"""
ANSWER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "events": []}), flush=True)
"""
IN_FLIGHT = 1024


class Producer:
    """Puts events into the pipeline and notes when the other node accepts them."""

    def __init__(self, made: Pair) -> None:
        self.delivery = made.near.delivery.engine
        self.pipeline = self.delivery.definitions.current["bench"]
        self._accepted: dict[str, asyncio.Event] = {}
        self._write = self.delivery.journal.write
        self.delivery.journal.write = self._written  # type: ignore[method-assign]

    def _written(self, changes: Changes) -> asyncio.Future[Any]:
        """Note the rows that another node has accepted, when they are written to the journal."""
        done = self._write(changes)
        for row in changes.written.values():
            if row.state >= State.PLACED and (waiting := self._accepted.pop(row.event.id, None)) is not None:
                waiting.set()
        return done

    async def hop(self, number: int) -> float:
        """Seconds until the other node accepts event `number`."""
        ident = f"bench-{time.monotonic_ns():x}-{number}"
        accepted = self._accepted[ident] = asyncio.Event()
        began = time.perf_counter()
        data = {
            "mac": f"a4:83:e7:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            "interface": "wlan0",
        }
        await self.delivery.trigger(self.pipeline, "here", "wifi.client.joined", data, ident)
        await accepted.wait()
        return time.perf_counter() - began

    async def many(self, count: int) -> float:
        """Events a second."""
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one(number: int) -> None:
            async with room:
                await self.hop(number)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(number))
        return count / (time.perf_counter() - began)

    async def settle(self) -> None:
        """Wait until every event has ended on this node."""
        async with asyncio.timeout(60):
            while self.delivery.journal.open_count:
                await asyncio.sleep(0.02)


async def prepare(made: Pair) -> Producer:
    """Apply the pipeline and wait until the first event passes."""
    from bench.agents import ROOT

    text = PIPELINE.replace("ROOT", str(ROOT)).replace("COMMAND", json.dumps([sys.executable, "-c", ANSWER]))
    files = {
        name: (ROOT / name.removeprefix(f"{ROOT}/")).read_bytes()
        for name in await made.near.api.pipelines.files(Source(text=text, file="bench.yaml"))
    }
    await made.near.api.pipelines.apply(Source(text=text, file="bench.yaml", files=files))
    await asyncio.to_thread(made.others.applied)
    producer = Producer(made)
    await asyncio.wait_for(producer.hop(0), 30)
    await producer.settle()
    return producer


async def _measure(singles: int, many: int, rounds: int) -> tuple[list[float], list[float]]:
    async with pair() as made:
        producer = await prepare(made)
        await asyncio.sleep(2.0)
        times: list[float] = []
        for number in range(singles):
            times.append(await producer.hop(number))
            await asyncio.sleep(0.005)
        await producer.settle()
        rates = []
        for _ in range(rounds):
            rates.append(await producer.many(many))
            await producer.settle()
    return [t * 1e3 for t in times], rates


def measure(*, quick: bool = False) -> list[Figure]:
    """Latency and rate."""
    times, rates = asyncio.run(_measure(*((100, 1000, 2) if quick else (500, 4000, 5))))
    details = {"ms": spread(times, 2), "rates": [round(r) for r in rates], "in_flight": IN_FLIGHT}
    return [
        Figure(
            name="hop",
            what="event hop, journalled, signed and acknowledged, p50",
            figure=spread(times, 3)["p50"],
            goal=2.0,
            unit="ms",
            sense="at most",
            bound_by=(
                "by timing its parts at a load of 4: 1.2 ms until the event is sent (0.4 of them the commit), 3.2 ms "
                "until the answer. An empty signed request with a commit takes 1.5 ms. It is unknown how much of the "
                "rest is waiting for a core"
            ),
            details=details,
        ),
        Figure(
            name="hop-rate",
            what="event hops a second",
            figure=max(rates),
            goal=6000.0,
            unit="events/s",
            sense="at least",
            bound_by="not profiled",
            details=details,
        ),
    ]
