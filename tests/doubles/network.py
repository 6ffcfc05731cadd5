"""A mesh in virtual time that loses, repeats, delays and reorders messages, and tells late that a node came or went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import msgspec

from agent.errors import EdgeError, Refused, Unreachable
from agent.model.node import Capacity, NodeRecord
from tests.doubles.memory import Peer


@dataclass
class Weather:
    """How badly the network treats messages; the default is a perfect one. Shares are of all calls, times in seconds."""

    lose_request: float = 0.0
    lose_answer: float = 0.0
    """The work is done and its answer lost."""
    repeat: float = 0.0
    """The request comes a second time, later; that answer goes nowhere."""
    busy: float = 0.0
    """The other node refuses the whole request for now."""
    slowest: float = 0.0
    """Longest delay of a message. Messages with shorter delays overtake others."""
    notice: float = 0.0
    """Longest time until a node hears that another came or went."""


class SimulatedNet:
    """The nodes that are up, and which pairs of them are cut."""

    def __init__(self, random: Random, weather: Weather) -> None:
        self.random = random
        self.weather = weather
        self.nodes: dict[str, SimulatedMesh] = {}
        self.cut: set[frozenset[str]] = set()
        self.calls = 0
        self.faults: list[str] = []
        """Exceptions of handlers that are no EdgeError."""
        self.sent: Callable[[str, str, str, bytes], None] = lambda source, target, verb, body: None
        """Told of each request when it leaves."""
        self.begun: Callable[[int, str, str, str, bytes], None] = lambda number, source, target, verb, body: None
        self.served: Callable[[int, str, str, str, bytes, bytes], None] = (
            lambda number, source, target, verb, body, answer: None
        )
        """Told of each request when its handler waits for the first time, and when it has answered. Numbers are unique."""
        self.numbers = count(1)

    def join(self, mesh: SimulatedMesh) -> None:
        """The node is up; it and the others hear of each other some time later."""
        self.nodes[mesh.id] = mesh
        self.change(mesh.id)

    def leave(self, mesh: SimulatedMesh) -> None:
        """The node dies without a word."""
        mesh.dead = True
        if self.nodes.get(mesh.id) is mesh:
            del self.nodes[mesh.id]
        self.change(mesh.id)

    def part(self, a: str, b: str) -> None:
        """Nothing passes between the two."""
        self.cut.add(frozenset((a, b)))
        self.change(a)

    def heal(self, a: str, b: str) -> None:
        """Messages pass again."""
        self.cut.discard(frozenset((a, b)))
        self.change(a)

    def reaches(self, a: str, b: str) -> bool:
        """Whether messages pass from one to the other."""
        return a in self.nodes and b in self.nodes and frozenset((a, b)) not in self.cut

    def change(self, node_id: str) -> None:
        """Each node learns a while later how the links of this one are by then."""
        loop = asyncio.get_running_loop()
        for other in [i for i in self.nodes if i != node_id]:
            for a, b in ((node_id, other), (other, node_id)):
                if (mesh := self.nodes.get(a)) is not None:
                    loop.call_later(self.random.uniform(0.0, self.weather.notice), mesh.notice, b, context=mesh.context)

    async def pass_by(self) -> None:
        """The time that a message takes."""
        await asyncio.sleep(self.random.uniform(0.0, self.weather.slowest))

    def happens(self, share: float) -> bool:
        """Whether this call is among them."""
        return share > 0.0 and self.random.random() < share


class SimulatedMesh:
    """One start of one node. Its handlers run in the node's own context."""

    def __init__(self, net: SimulatedNet, node_id: str, labels: dict[str, str], boot: str, context: Context) -> None:
        self.net = net
        self.id = node_id
        self.context = context
        self.dead = False
        labels = {**labels, "node": node_id, "id": node_id}
        self.record = NodeRecord(id=node_id, name=node_id, labels=labels, capacity=Capacity(free=100), boot=boot)
        self.view: dict[str, NodeRecord] = {node_id: self.record}
        """The nodes that it takes for live."""
        self.changed = asyncio.get_running_loop().time()
        """When that changed last."""
        self.missing: dict[str, float] = {}
        """Since when it has not taken others for live that it knew."""
        self.handlers: dict[str, Callable[[Any, bytes], Awaitable[bytes]]] = {}
        self.callbacks: list[Callable[[NodeRecord, bool], None]] = []

    def live(self) -> list[NodeRecord]:
        return list(self.view.values())

    def is_live(self, node_id: str) -> bool:
        return node_id in self.view

    def is_removed(self, node_id: str) -> bool:
        return False

    def serve(self, verb: str, handler: Callable[[Any, bytes], Awaitable[bytes]]) -> None:
        self.handlers[verb] = handler

    def on_change(self, callback: Callable[[NodeRecord, bool], None]) -> None:
        self.callbacks.append(callback)

    def announce(self, free: int) -> None:
        """Tell the others how many free places this node has."""
        self.record = msgspec.structs.replace(self.record, capacity=Capacity(free=free))
        self.view[self.id] = self.record
        self.net.change(self.id)

    def notice(self, node_id: str) -> None:
        """Check the other node's state, and call those that asked for changes."""
        if self.dead:
            return
        known = self.view.get(node_id)
        if self.net.reaches(self.id, node_id):
            record = self.net.nodes[node_id].record
            if known != record:
                self.view[node_id] = record
                self.changed = asyncio.get_running_loop().time()
                self.missing.pop(node_id, None)
                self._tell(record, True)
        elif known is not None:
            del self.view[node_id]
            self.changed = self.missing[node_id] = asyncio.get_running_loop().time()
            self._tell(known, False)

    def _tell(self, record: NodeRecord, alive: bool) -> None:
        for callback in self.callbacks:
            callback(record, alive)

    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
        net = self.net
        if self.dead:
            await asyncio.Event().wait()
        net.calls += 1
        net.sent(self.id, node_id, verb, body)
        end = asyncio.get_running_loop().time() + timeout
        await net.pass_by()
        if node_id not in self.view or not net.reaches(self.id, node_id) or net.happens(net.weather.lose_request):
            await self._nothing(node_id, end)
        if net.happens(net.weather.busy):
            raise Refused(f"{node_id} has too much to do", code="busy")
        target = net.nodes[node_id]
        served = target.take(self.id, verb, body)
        if net.happens(net.weather.repeat):
            later = net.random.uniform(0.0, 2 * net.weather.slowest)
            asyncio.get_running_loop().call_later(later, target.repeat, self.id, verb, body, context=target.context)
        await asyncio.wait({served}, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        await net.pass_by()
        lost = net.happens(net.weather.lose_answer) or not net.reaches(self.id, node_id)
        if lost or not served.done() or served.cancelled() or net.nodes.get(node_id) is not target:
            await self._nothing(node_id, end)
        return served.result()

    async def _nothing(self, node_id: str, end: float) -> None:
        """No answer comes: sometimes that is known at once, else after the time that the caller gave."""
        if self.net.random.random() < 0.5:
            await asyncio.sleep(max(0.0, end - asyncio.get_running_loop().time()))
        raise Unreachable(f"{node_id} did not answer")

    def take(self, source: str, verb: str, body: bytes) -> asyncio.Task[bytes]:
        """Serve a request; the work goes on when the caller is gone."""
        loop, number = asyncio.get_running_loop(), next(self.net.numbers)
        task = loop.create_task(self._serve(number, source, verb, body), context=self.context)
        loop.call_soon(self.net.begun, number, source, self.id, verb, body)
        task.add_done_callback(_retrieve)
        return task

    def repeat(self, source: str, verb: str, body: bytes) -> None:
        """Serve a request that was served before, if the node still lives."""
        if not self.dead:
            self.take(source, verb, body)

    async def _serve(self, number: int, source: str, verb: str, body: bytes) -> bytes:
        try:
            answer = await self.handlers[verb](Peer(source, source), body)
        except EdgeError:
            raise
        except Exception as e:
            self.net.faults.append(f"{self.id} {verb}: {e!r}")
            raise EdgeError("a fault of the other node", code="internal") from e
        self.net.served(number, source, self.id, verb, body, answer)
        return answer


def _retrieve(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()
