"""Ping and connections between two real nodes, and what damaged or greedy members do."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest

from agent.errors import EdgeError, Refused, Unreachable
from agent.mesh import LARGE, Mesh, Probes, Tried, path_mtu
from agent.mesh import probes as module
from agent.model.node import NodeRecord
from tests.mesh.building import Building, free_port
from tests.support import eventually


def probing(mesh: Mesh) -> Probes:
    made = Probes(mesh, 7946)
    for verb, handler in made.verbs.items():
        mesh.serve(verb, handler)
    return made


@pytest.fixture
async def two(building: Building) -> tuple[Mesh, Probes, Mesh]:
    hall, porch = await building.start("hall"), await building.start("porch", join=("hall",))
    await eventually(lambda: hall.is_live(porch.me.id) and porch.is_live(hall.me.id))
    probing(porch)
    hall.announce(endpoints=[building.address("hall")])
    porch.announce(endpoints=[building.address("porch")])
    await eventually(lambda: porch.node("hall").endpoints == [building.address("hall")])
    return hall, probing(hall), porch


async def test_a_ping_gives_time_clock_and_version(two: tuple[Mesh, Probes, Mesh]) -> None:
    _, probes, porch = two
    trip = await probes.ping(porch.me.id, padding=LARGE)
    assert trip.ms > 0
    assert abs(trip.offset_s) < 5
    assert trip.version


async def test_a_node_reports_the_connections_that_it_can_make(two: tuple[Mesh, Probes, Mesh]) -> None:
    hall, probes, porch = two
    closed = f"127.0.0.1:{free_port()}"
    opened = hall.me.endpoints[0]
    hall.announce(endpoints=[opened, closed])
    await eventually(lambda: closed in porch.node("hall").endpoints)
    assert await probes.reach(porch.me.id) == [Tried(opened), Tried(closed, "Connection refused")]


async def test_connections_on_request_are_limited_in_rate(two: tuple[Mesh, Probes, Mesh]) -> None:
    _, probes, porch = two
    with pytest.raises(Refused, match="a moment ago"):
        for _ in range(20):
            await probes.reach(porch.me.id)


async def test_connections_are_tried_to_announced_addresses_only(two: tuple[Mesh, Probes, Mesh]) -> None:
    hall, probes, porch = two
    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0.2)
        address = f"127.0.0.1:{victim.getsockname()[1]}"
        raw = await hall.call(porch.me.id, module.REACH, msgspec.msgpack.encode([address]))
        assert [t.address for t in msgspec.msgpack.decode(raw, type=list[Tried])] == hall.me.endpoints
        with pytest.raises(TimeoutError):
            victim.accept()
    assert probes.verbs


@pytest.mark.parametrize("raw", [b"", b"\xff", msgspec.msgpack.encode({"time": "x"}), msgspec.msgpack.encode([[1, 2]])])
async def test_damaged_answers_become_errors(raw: bytes) -> None:
    class Calls:
        def node(self, id_or_name: str) -> NodeRecord:
            raise NotImplementedError

        async def call(self, *_: Any, **__: Any) -> bytes:
            return raw

    with pytest.raises(Unreachable, match="cannot be decoded"):
        await Probes(Calls(), 1).ping("n")
    with pytest.raises(EdgeError, match="cannot be decoded"):
        await Probes(Calls(), 1).reach("n")


async def test_a_damaged_ping_is_refused(two: tuple[Mesh, Probes, Mesh]) -> None:
    hall, _, porch = two
    with pytest.raises(Refused, match="cannot be decoded"):
        await hall.call(porch.me.id, module.PING, b"\xc1")


def test_the_mtu_is_that_of_the_first_way_that_exists() -> None:
    assert (path_mtu(["nowhere.invalid:1", "127.0.0.1:7946"]) or 0) >= 1280
    assert path_mtu([]) is None
