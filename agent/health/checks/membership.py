"""The mesh depends on one operator, or a node waits for one."""

from __future__ import annotations

from collections.abc import Iterator

from agent.health.facts import Facts
from agent.model.health import Warning

CODES = ("operator.one", "operator.no-backup", "node.pending")


def check(facts: Facts) -> Iterator[Warning]:
    """One operator in a mesh of several nodes, no backup of it, or nodes and labels that wait for
    approval."""
    if facts.operators == 1 and facts.nodes > 1:
        yield Warning(
            "operator.one",
            "mesh",
            "only one operator can admit nodes and sign pipelines",
            "let another device join as one: edge-agent token create --role operator",
            "info",
        )
    if facts.backup is False:
        yield Warning(
            "operator.no-backup",
            facts.node,
            "this operator's key has no backup",
            "copy the identity folder to a safe place",
            "info",
        )
    if facts.pending:
        yield Warning(
            "node.pending",
            "mesh",
            f"{facts.pending} wait for approval",
            "look at edge-agent node pending, then edge-agent node approve CODE",
        )
