"""The services of a node: one that stops is started again; one that cannot listen where it should ends the agent."""

from __future__ import annotations

import socket

import pytest

from agent.errors import ConfigError
from agent.node import run_node
from tests.node.site import Site
from tests.support import eventually


async def test_a_port_in_use_ends_a_node_and_failing_sources_do_not(site: Site) -> None:
    async def broken() -> None:
        raise ConfigError("not a selector")

    hall = site.node("hall")
    hall.delivery.sources.run = broken  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", site.ports["hall"][1])), pytest.raises(ExceptionGroup) as caught:
        await run_node(hall)
    assert caught.group_contains(ConfigError, match="cannot listen")
    again = site.node("hall")
    again.delivery.sources.run = broken  # type: ignore[method-assign]
    await site.run("hall", again)
    await eventually(lambda: any(w.code == "service.restarted" for w in again.health.list()))
    assert not site.running["hall"][1].done()
