"""Several hosts on a bridge: joining by address alone, and everything that links have to survive. There is
no multicast here: the nodes know of each other only what they are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.mesh.settings import PORT
from tests.mesh.building import Building
from tests.netns import Host, network

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


class Node:
    """A node in its own host."""

    def __init__(self, building: Building, host: Host) -> None:
        self.building, self.host, self.name = building, host, host.name
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *join: Host) -> None:
        self.building.identity(self.name)
        arguments = [str(self.building.folder), self.name, str(PORT), *(f"{h.address}:{PORT}" for h in join)]
        command = self.host.command(sys.executable, "-m", "tests.mesh.child", *arguments)
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert await self._read() == "ready"

    async def ask(self, *words: str) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        await self.process.stdin.drain()
        return await self._read()

    async def _read(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 30)
        assert line, f"{self.name} ended"
        return json.loads(line)

    async def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            self.process = None


class Hosts:
    def __init__(self, building: Building, hosts: dict[str, Host]) -> None:
        self.hosts = hosts
        self.nodes = {name: Node(building, host) for name, host in hosts.items()}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    async def start_all(self) -> None:
        """hall first, the others joining it by its address."""
        for name, node in self.nodes.items():
            await node.start(*([] if name == "hall" else [self.hosts["hall"]]))

    async def together(self, names: Iterable[str], timeout: float = 25.0) -> None:
        """Wait until each of these sees exactly these alive, and each can call each."""
        wanted = sorted(names)
        seen: dict[str, Any] = {}
        async with asyncio.timeout(timeout * 3):
            end = asyncio.get_running_loop().time() + timeout
            while True:
                for name in wanted:
                    seen[name] = await self[name].ask("live")
                if all(live == wanted for live in seen.values()):
                    answers = {(a, b): await self[a].ask("call", b) for a in wanted for b in wanted if a != b}
                    if all(answer == f"{a}:hello" for (a, _), answer in answers.items()):
                        return
                    bad = {pair: answer for pair, answer in answers.items() if answer != f"{pair[0]}:hello"}
                    print(bad)
                assert asyncio.get_running_loop().time() < end, seen
                await asyncio.sleep(0.1)

    async def linked(self, a: str, b: str, building: Building) -> bool:
        return building.identity(b).node_id in await self[a].ask("links")


NAMES = ("hall", "porch", "garage", "gpu")


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    with network(*NAMES) as hosts:
        made = Hosts(Building(tmp_path), hosts)
        try:
            yield made
        finally:
            for node in made.nodes.values():
                await node.kill()


async def test_nodes_join_by_one_address_and_all_link_to_all(hosts: Hosts) -> None:
    await hosts.start_all()
    await hosts.together(NAMES)
    building = hosts["hall"].building
    async with asyncio.timeout(20):
        while not all([await hosts.linked(a, b, building) for a in NAMES for b in NAMES if a != b]):
            await asyncio.sleep(0.2)


async def test_inbound_open_on_one_node_only_is_enough(hosts: Hosts) -> None:
    for name in NAMES[1:]:
        hosts.hosts[name].close_inbound()
    await hosts.start_all()
    await hosts.together(NAMES)
    assert not await hosts.linked("porch", "garage", hosts["hall"].building)


async def test_killed_first_node_stops_nothing_and_returns(hosts: Hosts) -> None:
    await hosts.start_all()
    await hosts.together(NAMES)
    assert await hosts["hall"].ask("put", "pipeline", "door", "one") == 1
    await hosts["hall"].kill()
    await hosts.together(NAMES[1:])
    await hosts["hall"].start()
    await hosts.together(NAMES)
    await hosts["garage"].kill()
    assert await hosts["hall"].ask("put", "pipeline", "door", "two") == 2
    await hosts.together(("hall", "porch", "gpu"))
    await hosts["garage"].start()
    await hosts.together(NAMES)
    async with asyncio.timeout(10):
        while await hosts["garage"].ask("get", "pipeline", "door") != "two":
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_node_that_was_cut_off_for_a_minute_returns(hosts: Hosts) -> None:
    await hosts.start_all()
    await hosts.together(NAMES)
    others = [hosts.hosts[n] for n in NAMES if n != "gpu"]
    hosts.hosts["gpu"].cut(*others)
    await hosts.together(NAMES[:3])
    assert await hosts["hall"].ask("put", "pipeline", "door", "meanwhile") == 1
    end = asyncio.get_running_loop().time() + 60
    while asyncio.get_running_loop().time() < end:
        assert await hosts["hall"].ask("live") == ["garage", "hall", "porch"]
        await asyncio.sleep(1)
    hosts.hosts["gpu"].restore()
    await hosts.together(NAMES)
    async with asyncio.timeout(10):
        while await hosts["gpu"].ask("get", "pipeline", "door") != "meanwhile":
            await asyncio.sleep(0.1)


async def test_two_halves_go_on_alone_and_heal(hosts: Hosts) -> None:
    await hosts.start_all()
    await hosts.together(NAMES)
    left, right = NAMES[:2], NAMES[2:]
    for name in left:
        hosts.hosts[name].cut(*(hosts.hosts[n] for n in right))
    await hosts.together(left)
    await hosts.together(right)
    for name in left:
        hosts.hosts[name].restore()
    await hosts.together(NAMES, timeout=40)


async def test_two_nodes_without_a_direct_way_meet_through_a_third(hosts: Hosts) -> None:
    hosts.hosts["porch"].cut(hosts.hosts["garage"])
    for name in ("hall", "porch", "garage"):
        await hosts[name].start(*([] if name == "hall" else [hosts.hosts["hall"]]))
    await hosts.together(("hall", "porch", "garage"))
    assert not await hosts.linked("porch", "garage", hosts["hall"].building)
    hosts.hosts["porch"].restore()
    async with asyncio.timeout(30):
        while not await hosts.linked("porch", "garage", hosts["hall"].building):
            await asyncio.sleep(0.2)


async def test_new_addresses_from_discovery_link_all_nodes_again(hosts: Hosts) -> None:
    await hosts.start_all()
    await hosts.together(NAMES)
    for number, host in enumerate(hosts.hosts.values()):
        host.move(f"10.77.5.{50 + number}")
    for name in NAMES[1:]:  # mDNS does this on a real network
        await hosts[name].ask("add", f"{hosts.hosts['hall'].address}:{PORT}")
    await hosts.together(NAMES, timeout=40)
    async with asyncio.timeout(20):
        while await hosts["porch"].ask("endpoints") != [f"10.77.5.51:{PORT}"]:
            await asyncio.sleep(0.2)
