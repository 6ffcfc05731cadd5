"""The choice of a node: selectors, `prefer`, rendezvous hashing weighed by free capacity.

Rendezvous (highest random weight) hashing after Thaler and Ravishankar (1998), with the logarithmic weighting of
Schindelhauer and Schomaker (2005): every node ranks the same nodes in the same order, and a node's leaving moves only its own keys.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import lru_cache

from agent.model.labels import Selector
from agent.model.node import Capacity, NodeRecord, Reserved
from agent.model.pipeline import Pipeline, Step

MAX_CPUS = 64.0
"""Most free cores that count: no node may draw all work to itself by claiming more."""
LEAST = 0.05
"""Least weight of a part of the capacity: a node without free cores still gets some work."""
BUSY = 0.5
"""Weight of a node whose GPUs are in use, against the same node with a free GPU."""
NOTHING = Reserved()
ENOUGH_MEMORY = 512 << 20
"""Bytes of free memory from which on more of it makes no difference."""
ENOUGH_ROOM = 10
"""Hundreds of free places in the queue from which on more of them make no difference."""


@lru_cache(maxsize=4096)
def selector(text: str) -> Selector:
    """The parsed selector; it was checked when the pipeline was."""
    return Selector.parse(text)


def score(key: str, node_id: str, weight: float = 1.0) -> float:
    """This node's rendezvous score for the key; higher wins. `weight` > 0."""
    digest = hashlib.sha256(f"{key}\0{node_id}".encode()).digest()
    fraction = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
    return -weight / math.log(fraction)


def weight(capacity: Capacity, gpus: int = 0, own: Reserved = NOTHING) -> float:
    """The node's share of the work: its free cores, less where memory or room in the queue is short, or `gpus` are not free.

    `own` is reserved there by the very program that is to get the work, so that it counts as free. With twice the weight a
    node gets twice as many events. Every value may come from a member that lies.
    """
    cpus = min(MAX_CPUS, max(LEAST, capacity.cpus + own.cpus))
    memory = min(1.0, max(LEAST, (capacity.memory + own.memory) / ENOUGH_MEMORY)) if capacity.memory else 1.0
    room = min(1.0, max(1, capacity.free) / ENOUGH_ROOM)
    if capacity.gpus + own.gpus >= gpus:
        return cpus * memory * room
    return cpus * memory * room * (BUSY if capacity.all_gpus >= gpus else LEAST)


def rank(
    key: str,
    nodes: Iterable[NodeRecord],
    *,
    prefer: str = "",
    weighed: bool = True,
    need: Reserved = NOTHING,
    program: str = "",
) -> list[NodeRecord]:
    """The nodes, best first: those that `prefer` matches before the others, then by score, weighed by free capacity.

    `need` is the reservation of the step's program, `program` its name in the nodes' capacity.
    """
    wanted = selector(prefer) if prefer else None

    def order(node: NodeRecord) -> tuple[bool, float]:
        runs = need is not NOTHING and program in node.capacity.programs
        share = weight(node.capacity, need.gpus, need if runs else NOTHING) if weighed else 1.0
        return (wanted is not None and wanted.matches(node.labels), score(key, node.id, share))

    return sorted(nodes, key=order, reverse=True)


def may_run(pipeline: Pipeline, step: Step, labels: dict[str, str]) -> bool:
    """Whether the pipeline lets a node with these labels run the step; `pick: here` runs wherever a parent may."""
    if step.where and not selector(step.where).matches(labels):
        return False
    if step.pick != "here":
        return True
    parents = (pipeline.step(name) for name in step.after)
    return any(p is not None and may_run(pipeline, p, labels) for p in parents)


def may_send(pipeline: Pipeline, step: Step, parent: str, labels: dict[str, str]) -> bool:
    """Whether a node with these labels may deliver events of `parent` to the step."""
    made_by = pipeline.step(parent)
    return parent in step.after and made_by is not None and may_run(pipeline, made_by, labels)


def matches(step: Step, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
    """The nodes that the step's selector names."""
    wanted = selector(step.where)
    return [n for n in nodes if wanted.matches(n.labels)]


def steps_without_node(pipeline: Pipeline, nodes: Iterable[NodeRecord]) -> list[str]:
    """A line for each step that none of these nodes may run."""
    labels = [n.labels for n in nodes]
    return [
        f"{pipeline.name}/{s.name}: no live node matches {s.where or 'a step before it'}"
        for s in pipeline.steps
        if not any(may_run(pipeline, s, mine) for mine in labels)
    ]
