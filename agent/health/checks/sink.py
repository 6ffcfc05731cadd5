"""A pipeline ends in a sink, but none is connected."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("sink.missing", "sink.disconnected")


def check(facts: Facts) -> Iterator[Warning]:
    """`sink_connected` None means that no node of the mesh has a sink."""
    if facts.sink_wanted and facts.sink_connected is None:
        yield Warning(
            "sink.missing",
            "mesh",
            "a pipeline has a sink step, but no node has a sink",
            "run edge-agent sink connect URL on the node that may reach it",
            "error",
        )
    elif facts.sink_connected is False:
        yield Warning(
            "sink.disconnected",
            facts.node,
            "the sink does not answer" + (f": {facts.sink_error}" if facts.sink_error else ""),
            "alerts wait in the spool; look at edge-agent sink status",
        )
