"""The command `upgrade`."""

from __future__ import annotations

import json

from tests.api.memory import MemoryAgent
from tests.cli.conftest import Shell


async def test_without_a_node_it_shows_the_release_and_the_versions(edge: Shell, agent: MemoryAgent) -> None:
    shown = await edge("upgrade")
    assert shown.code == 0
    assert "release 0.2.0 (stable), protocol 1" in shown.out
    assert "edge-agent upgrade --all" in shown.out
    assert (await edge("upgrade", "--json")).json["version"] == "0.2.0"
    assert agent.calls == []


async def test_a_node_is_followed_to_its_end(edge: Shell, agent: MemoryAgent) -> None:
    shown = await edge("upgrade", "porch", "--yes", "--wait", "30s")
    assert (shown.code, shown.err) == (0, "")
    assert "fetching 1.0 MiB of 4.0 MiB" in shown.out
    assert "✓ porch done" in shown.out
    assert agent.calls == [("upgrade", "id-porch", 30.0)]


async def test_the_first_failure_ends_it(edge: Shell, agent: MemoryAgent) -> None:
    shown = await edge("upgrade", "garage", "porch", "--yes")
    assert shown.code == 1
    assert "it went back" in shown.out
    assert [c[1] for c in agent.calls] == ["id-garage"]


async def test_all_leaves_current_nodes_alone(edge: Shell, agent: MemoryAgent) -> None:
    rows = [json.loads(line) for line in (await edge("upgrade", "--all", "--json")).out.splitlines()]
    ends = [(row["node"], row["state"]) for row in rows if row["state"] in ("done", "failed")]
    assert ends == [("porch", "done"), ("ap", "done"), ("garage", "failed")]
    assert [c[1] for c in agent.calls] == ["id-porch", "id-garage"]


async def test_a_refusal_changes_nothing(edge: Shell, agent: MemoryAgent) -> None:
    assert (await edge("upgrade", "porch", input="n\n")).code == 1
    assert (await edge("upgrade", "nowhere", "--yes")).code == 2
    assert (await edge("upgrade", "porch", "--all")).code == 2
    assert agent.calls == []
