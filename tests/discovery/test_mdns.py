"""Real mDNS on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from agent.discovery import Discovery, Found, listen_for_meshes, mdns
from tests.support import eventually

MESH, HALL, PORCH = "m" * 20, "h" * 20, "p" * 20


@contextlib.asynccontextmanager
async def running(*services: Discovery) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(s.run()) for s in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, asyncio.CancelledError) for e in ended), ended


def discovery(heard: list[Found] | None = None, **options: object) -> Discovery:
    found = (lambda _: None) if heard is None else heard.append
    return Discovery(found, interfaces=["lo"], poll=0.1, **options)  # type: ignore[arg-type]


async def test_two_nodes_hear_each_other_and_not_themselves() -> None:
    hall_heard: list[Found] = []
    porch_heard: list[Found] = []
    hall, porch = discovery(hall_heard), discovery(porch_heard)
    hall.announce(MESH, HALL, "hall", 7946, 7947, version="0.1")
    porch.announce(MESH, PORCH, "porch", 8946, 8947)
    async with running(hall, porch):
        await eventually(lambda: hall_heard and porch_heard)
    assert porch_heard == [
        Found(mesh=MESH, node=HALL, name="hall", hosts=("127.0.0.1",), port=7946, enrol_port=7947, version="0.1")
    ]
    assert [f.node for f in hall_heard] == [PORCH]
    assert hall.heard() == hall_heard


async def test_a_node_without_state_hears_the_mesh_near_it() -> None:
    hall = discovery()
    hall.announce(MESH, HALL, "hall", 7946, 7947)
    async with running(hall):
        await eventually(lambda: hall._announced)
        found = await listen_for_meshes(1.5, interfaces=["lo"])
    assert [(f.mesh, f.enrol_addresses) for f in found] == [(MESH, ["127.0.0.1:7947"])]


async def test_silence_is_no_mesh() -> None:
    assert await listen_for_meshes(0.2, interfaces=["lo"]) == []
    assert await listen_for_meshes(0.2, interfaces=["nothing0"]) == []


async def test_a_changed_port_and_a_changed_name_are_told() -> None:
    heard: list[Found] = []
    hall, porch = discovery(heard), discovery()
    porch.announce(MESH, PORCH, "porch", 8946, 8947)
    async with running(hall, porch):
        await eventually(lambda: heard)
        porch.announce(MESH, PORCH, "porch", 9946, 8947)
        await eventually(lambda: heard[-1].port == 9946)
        porch.announce(MESH, PORCH, "veranda", 9946, 8947)
        await eventually(lambda: heard[-1].name == "veranda")


async def test_announcing_may_begin_long_after_listening() -> None:
    heard: list[Found] = []
    hall, porch = discovery(heard), discovery()
    async with running(hall, porch):
        await asyncio.gather(listen_for_meshes(0.1, interfaces=["lo"]))
        porch.announce(MESH, PORCH, "porch", 8946, 8947)
        await eventually(lambda: heard)


async def test_invalid_announcements_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Found] = []
    hall, liar = discovery(heard), discovery()
    liar.announce("UPPER CASE", PORCH, "porch", 8946, 8947)
    with caplog.at_level(logging.WARNING):
        async with running(hall, liar):
            await eventually(lambda: hall.ignored)
            liar.announce("STILL WRONG", PORCH, "porch", 8946, 8947)
            await eventually(lambda: hall.ignored > 1)
    assert heard == []
    assert (
        len([r for r in caplog.records if r.name == "agent.discovery.mdns" and "cannot be decoded" in r.message]) == 2
    ), "one line of each of the two"


async def test_without_a_network_it_waits_for_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Found] = []
    network: list[str] = []
    monkeypatch.setattr(mdns, "own_addresses", lambda _: list(network))
    hall, porch = discovery(heard), discovery()
    porch.announce(MESH, PORCH, "porch", 8946, 8947)
    with caplog.at_level(logging.WARNING):
        async with running(hall, porch):
            await eventually(lambda: len(caplog.records) == 2)
            network.append("127.0.0.1")
            await eventually(lambda: heard)
            network.clear()
            await eventually(lambda: len(caplog.records) == 4)
            network.append("127.0.0.1")
            porch.announce(MESH, PORCH, "porch", 9946, 8947)
            await eventually(lambda: heard[-1].port == 9946)
    assert all("no network" in r.message for r in caplog.records), "one line each time, not one each look"


async def test_a_new_address_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Found] = []
    moved = False
    hall, porch = discovery(heard), discovery()
    porch.announce(MESH, PORCH, "porch", 8946, 8947)
    monkeypatch.setattr(mdns, "own_addresses", lambda _: ["127.0.0.1", "127.0.0.2"] if moved else ["127.0.0.1"])
    async with running(hall, porch):
        await eventually(lambda: heard)
        moved = True
        await eventually(lambda: "127.0.0.2" in heard[-1].hosts)
