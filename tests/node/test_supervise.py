"""The services of a node: one that stops is started again; one that cannot listen where it should ends the agent."""

from __future__ import annotations

import socket

import pytest

from agent.errors import ConfigError
from tests.node.house import House
from tests.support import eventually


async def test_an_agent_that_cannot_listen_ends_and_one_whose_sources_fail_goes_on(house: House) -> None:
    async def broken() -> None:
        raise ConfigError("not a selector")

    hall = house.agent("hall")
    hall.sources.run = broken  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", house.ports["hall"][1])), pytest.raises(ExceptionGroup) as caught:
        await hall.run()
    assert caught.group_contains(ConfigError, match="cannot listen")
    again = house.agent("hall")
    again.sources.run = broken  # type: ignore[method-assign]
    await house.run("hall", again)
    await eventually(lambda: any(w.code == "service.restarted" for w in again.health.list()))
    assert not house.running["hall"][1].done()
