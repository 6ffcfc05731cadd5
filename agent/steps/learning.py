"""Learning: for a while after the start of a presence step, unknown devices are met without an arrival.

The node that decides for the step counts the time that it runs, once a minute, and tells every node; each node keeps the count,
so that another one goes on where it decides. An operator ends it with a signed document, which every node has.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from agent import ticks
from agent.clock import boottime
from agent.delivery import Context, Deciders, Decision
from agent.model.keys import LONGEST
from agent.model.mac import is_mac
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import matches, rank

log = logging.getLogger(__name__)

LEARN = 86400.0
"""Seconds that a step learns where it does not say."""
KEY = "learning"
"""The key of the record in the scope of the step."""
OF_THIS_VERSION = "signs"
"""A value of a device's record that version 0.1 does not write (device_records.py)."""
TOLD = 64
"""Most nodes that are told the count."""
EVERY = 60.0
"""Seconds between two counts."""
REFRESH = 86400.0
"""Seconds between two counts once it is over: no record holds longer than LONGEST."""
LEARNED = 400 * 86400.0
"""The count where a step has worked before this version: no step learns for longer."""


class Learning:
    """How long the presence steps of this mesh have learned."""

    def __init__(self, deciders: Deciders) -> None:
        self._deciders = deciders
        self.stopped: set[str] = set()
        """Pipelines of which an operator ended the learning; the node keeps it in step with the documents."""
        self._counted: dict[str, float] = {}
        """When this process counted last, by scope."""

    def left(self, scope: str, learn: float) -> float:
        """Seconds of learning that are left, as far as this node knows."""
        if learn <= 0 or scope.partition(":")[2].partition("/")[0] in self.stopped:
            return 0.0
        record = self._deciders.records.get((scope, KEY))
        since = boottime() - record.at if record is not None else 0.0
        return max(0.0, learn - _ran(record) - (since if 0.0 < since < 2 * EVERY else 0.0))

    def steps_of(self, pipeline: Pipeline) -> list[tuple[Step, float]]:
        """The presence steps of a pipeline, and the seconds of learning that are left to each."""
        steps = [s for s in pipeline.steps if s.kind == "presence"]
        return [(s, self.left(f"presence:{pipeline.name}/{s.name}", learn_of(s))) for s in steps]

    def met(self, pipeline: Pipeline, step: Step) -> int:
        """Devices that the step had met when its time was counted last."""
        return int(_number(self._deciders.records.get((f"presence:{pipeline.name}/{step.name}", KEY)), "met"))

    async def over(self, scope: str, learn: float) -> bool:
        """Whether the step announces unknown devices; begins to count where nothing is known of it."""
        if self.left(scope, learn) > 0 and (scope, KEY) not in self._deciders.records:
            await self.count(scope)
        return self.left(scope, learn) <= 0

    def load(self) -> None:
        """After the start: a step that has records of devices by version 0.1 and no count worked before this version and has learned.

        Records of this version prove nothing: a node that joined a moment ago keeps them before it is told the count.
        """
        records = self._deciders.records.items()
        scopes = {
            s for (s, mac), r in records if s.startswith("presence:") and is_mac(mac) and OF_THIS_VERSION not in r.value
        }
        for scope in scopes:
            if (scope, KEY) not in self._deciders.records:
                self._deciders.keep(_record(scope, LEARNED))

    async def count(self, scope: str) -> None:
        """Add the time since this process counted last, and tell every node."""
        now = boottime()
        elapsed = min(now - self._counted.get(scope, now), 2 * EVERY)
        self._counted[scope] = now
        here = self._deciders.records.get((scope, KEY))
        best = await self._deciders.witnessed(_record(scope, _ran(here))._replace(until=0.0), TOLD)
        met = sum(s == scope and is_mac(key) for s, key in self._deciders.records)
        mine = _record(scope, max(_ran(here), _ran(best)) + elapsed, met)
        await asyncio.gather(self._deciders.keep(mine), self._deciders.witnessed(mine, TOLD))

    async def run(self, context: Context) -> None:
        """Count for the steps that this node decides for, until cancelled."""
        while True:
            for pipeline in list(context.definitions.current.values()):
                nodes = context.mesh.live()
                for step in pipeline.steps:
                    ranked = rank(decider_key(pipeline.name), matches(step, nodes), weighed=False)
                    if step.kind != "presence" or not ranked:
                        continue
                    due = self._due if ranked[0].id == context.node_id else self.catch_up
                    await due(f"presence:{pipeline.name}/{step.name}", learn_of(step))
            await ticks.sleep(EVERY)

    async def catch_up(self, scope: str, learn: float) -> None:
        """Ask the others where nobody tells this node the count: it may have joined after the step had learned."""
        here = self._deciders.records.get((scope, KEY))
        if self.left(scope, learn) <= 0 or (here is not None and boottime() - here.at < 2 * EVERY):
            return
        found = await self._deciders.witnessed(_record(scope, 0.0)._replace(until=0.0), TOLD)
        if found.until > boottime() and _ran(found) > _ran(here):
            await self._deciders.keep(found)

    async def _due(self, scope: str, learn: float) -> None:
        record = self._deciders.records.get((scope, KEY))
        if self.left(scope, learn) > 0 or record is None or boottime() - record.at > REFRESH:
            await self.count(scope)


def decider_key(pipeline: str) -> str:
    """The key that chooses the node which decides for the presence steps of a pipeline."""
    return f"presence {pipeline}"


def learn_of(step: Step) -> float:
    """Seconds that a presence step learns in all."""
    return float(step.task.get("learn", LEARN))


def _record(scope: str, ran: float, met: int = 0) -> Decision:
    now = boottime()
    return Decision(scope, KEY, "", now, now + LONGEST, value={"ran": f"{min(ran, LEARNED):.0f}", "met": str(met)})


def _ran(record: Decision | None) -> float:
    return _number(record, "ran")


def _number(record: Decision | None, name: str) -> float:
    text = str(record.value.get(name, "")) if record is not None else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0.0


class StoppedLearning(msgspec.Struct):
    """The body of the document that ends the learning of a pipeline (kind `learning`, named by the pipeline)."""

    stopped: bool = True
