from __future__ import annotations

import asyncio
import errno
import json
import select
import socket
import struct
from pathlib import Path

import pytest

from agent.errors import ConfigError, Unreachable
from agent.identity import IdentityStore, PeerIdentity, Trust
from agent.mesh import Mesh, MeshSettings, linking, parse_address
from agent.mesh.introducer import Endpoint, Introducer
from agent.mesh.session import Link, MeshSession, close_session, link_config, open_session
from tests.mesh.building import Building, free_port, met
from tests.support import eventually


async def test_an_address_told_at_run_time_links_two_running_nodes(building: Building) -> None:
    hall, porch = await building.start("hall"), await building.start("porch")
    porch.add_endpoint(building.address("hall"))
    await met(hall, porch)
    assert [link.node for link in porch.links()] == [hall.me.id]
    assert [link.node for link in hall.links()] == [porch.me.id]
    with pytest.raises(ConfigError):
        porch.add_endpoint("not an address")


async def test_an_address_that_changed_its_node_is_dialled_at_once(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, dialled = MeshSession(building.operator, MeshSettings()), []
    monkeypatch.setattr(MeshSession, "zid", "1")
    monkeypatch.setattr(session, "links", lambda: [Link("2", "porch", "10.0.0.1:7946", "10.0.0.2:50000")])

    async def probe(self: Introducer, endpoint: Endpoint) -> str:
        dialled.append(endpoint.node)
        return ""

    monkeypatch.setattr(Introducer, "_probe", probe)
    introducer = Introducer(session, MeshSettings())
    introducer.add("10.0.0.2:7946", "porch")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(introducer.run())
        await eventually(lambda: not introducer._wake.is_set())
        assert not dialled
        introducer.add("10.0.0.2:7946", "garage")
        await eventually(lambda: dialled == ["garage"])
        running.cancel()


async def test_a_neighbour_that_dies_while_it_is_dialled_is_only_away(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    connect, resets = loop.sock_connect, []

    async def reset_at_once(sock: socket.socket, address: tuple[str, int]) -> None:
        await connect(sock, address)
        died, _ = listener.accept()
        died.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        died.close()
        poll = select.poll()
        poll.register(sock, 0)
        resets.append(poll.poll(5000)[0][1] & select.POLLHUP)

    session = MeshSession(building.operator, MeshSettings())
    monkeypatch.setattr(MeshSession, "zid", "1")
    monkeypatch.setattr(session, "links", list)
    monkeypatch.setattr(loop, "sock_connect", reset_at_once)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        introducer = Introducer(session, MeshSettings())
        introducer.add(f"127.0.0.1:{listener.getsockname()[1]}", asked_for=True)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(introducer.run())
            await eventually(lambda: resets and introducer.known()[0].failures)
            await eventually(lambda: not introducer._wake.is_set())
            introducer.retry_all()
            await eventually(lambda: len(resets) == 2)
            running.cancel()
    assert all(resets)


async def test_addresses_that_are_none_harm_nobody_whoever_tells_them(building: Building) -> None:
    hall, porch = await building.pair()
    told = ["a..b:7946", f"{'a' * 64}:7946", f"127.0.0.1:{free_port()}"]
    porch.announce(endpoints=told)
    await eventually(lambda: hall.node("porch").endpoints == told)
    await building.stop("porch")
    await eventually(lambda: any(e.failures > 1 for e in hall.endpoints() if e.address == told[2]))
    assert not building.running["hall"][1].done()
    assert not {e.address for e in hall.endpoints()} & set(told[:2])
    remembered = building.folder / "state" / "hall" / "mesh" / "peers.json"
    await eventually(remembered.exists)
    await building.stop("hall")
    assert "a..b" not in remembered.read_text()
    remembered.write_bytes(remembered.read_bytes().replace(b'"endpoints": [', b'"endpoints": ["a..b:1", "nonsense",'))
    await building.start("porch")
    await met(await building.start("hall"), building.running["porch"][0])


@pytest.mark.parametrize("damage", [b"{", b'{"version": 1, "peers": [{"id": "\xff"}]}', b"[" * 100_000])
async def test_damaged_memories_of_peers_are_made_anew(
    building: Building, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    await building.start("porch")
    path = building.folder / "state" / "hall" / "mesh" / "peers.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    hall = await building.start("hall", join=("porch",))
    assert "is damaged; creating a new one" in caplog.text
    await eventually(hall.links)
    await building.stop("hall")


async def test_unreadable_addresses_leave_the_last_ones_advertised(
    building: Building, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = await building.start("hall")
    before = await hall._linking.advertise()

    def exhausted(listen: str, port: int) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(linking, "local_addresses", exhausted)
    assert [await hall._linking.advertise() for _ in range(2)] == [before, before]
    assert caplog.text.count("addresses cannot be read") == 1


async def test_nodes_told_one_address_each_all_link_to_all(building: Building) -> None:
    names = ("hall", "porch", "garage", "gpu")
    nodes = [await building.start(n) for n in names]
    for node, other in zip(nodes[1:], names, strict=False):  # a chain
        node.add_endpoint(building.address(other))
    await met(*nodes, timeout=30)
    ids = {n.me.id for n in nodes}
    await eventually(lambda: all({x.node for x in n.links()} >= ids - {n.me.id} for n in nodes), 30)


async def test_peers_are_remembered_over_restarts(building: Building) -> None:
    hall = await building.start("hall")
    porch = await building.start("porch", join=("hall",))
    await met(hall, porch)
    remembered = building.folder / "state" / "porch" / "mesh" / "peers.json"
    await eventually(lambda: remembered.exists() and hall.me.id in remembered.read_text())
    assert remembered.stat().st_mode & 0o777 == 0o600
    await building.stop("porch")
    porch = await building.start("porch")
    await met(hall, porch)
    await building.stop("porch")
    remembered.write_text("{broken")
    porch = await building.start("porch")  # then it is found again by the one that remembers it
    await met(hall, porch, timeout=20)


async def test_a_renewed_certificate_is_used_without_a_restart(building: Building) -> None:
    hall, porch = await building.pair()
    old = building.identity("porch")
    store = IdentityStore(building.folder / "ids" / "porch")
    made = building.operator.issue(old.key.public_key(), role="operator", name="front-door")
    await porch.use(store.renewed(old, made))
    await eventually(lambda: hall.node(porch.me.id).name == "front-door")
    assert hall.node("front-door").role == "operator"
    await met(hall, porch)

    async def who(peer: PeerIdentity, body: bytes) -> bytes:
        return peer.name.encode()

    hall.serve("who", who)
    await eventually(lambda: [link.node for link in hall.links()] == [porch.me.id])
    async with asyncio.timeout(10):
        while True:
            try:
                assert await porch.call(hall.me.id, "who", b"", timeout=1) == b"front-door"
                break
            except Unreachable:
                await asyncio.sleep(0.05)


async def test_a_port_that_is_taken_is_a_clear_error(building: Building) -> None:
    await building.start("hall")
    building.ports["porch"] = building.ports["hall"]
    with pytest.raises(BaseExceptionGroup) as error:
        await building.start("porch")
    found = error.value.subgroup(lambda e: isinstance(e, Unreachable) and e.code == "mesh.open")
    assert found is not None
    building.running.pop("porch")


async def _linked(hall: Mesh, settings: dict[str, object]) -> bool:
    """Whether a session with these settings links to hall within a while."""
    session = await open_session(
        {**settings, "listen/endpoints": [], "connect/timeout_ms": 1500, "connect/exit_on_failure": False}
    )
    try:
        end = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < end:
            if session.info.links() and hall.links():
                return True
            await asyncio.sleep(0.02)
        return False
    finally:
        await close_session(session)


async def test_only_certificates_of_this_mesh_get_a_link(building: Building, tmp_path: Path) -> None:
    hall = await building.start("hall")
    where = building.address("hall")
    member = link_config(building.identity("porch"), 6.0)
    stranger = link_config(Building(tmp_path / "elsewhere").operator, 6.0)
    target = {"connect/endpoints": [f"tls/{where}"]}
    assert await _linked(hall, {**member, **target})
    await eventually(lambda: len(hall.links()) == 0)
    # Another mesh's certificate, with its own CA and with ours.
    assert not await _linked(hall, {**stranger, **target})
    tls = dict(stranger["transport/link/tls"])
    tls["root_ca_certificate_base64"] = member["transport/link/tls"]["root_ca_certificate_base64"]
    assert not await _linked(hall, {**stranger, "transport/link/tls": tls, **target})
    # No certificate at all, and no TLS at all.
    bare = {"root_ca_certificate_base64": tls["root_ca_certificate_base64"], "verify_name_on_connect": False}
    assert not await _linked(hall, {**member, "transport/link/tls": bare, **target})
    assert not await _linked(hall, {**member, "connect/endpoints": [f"tcp/{where}"]})
    assert hall.live() == [hall.me]


async def test_garbage_on_the_port_harms_nobody(building: Building) -> None:
    hall, porch = await building.pair()
    host, port = "127.0.0.1", building.ports["hall"]
    for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(100_000), b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        with socket.create_connection((host, port), timeout=5) as raw:
            try:
                raw.sendall(garbage)
            except OSError:
                continue

    async def echo(peer: object, body: bytes) -> bytes:
        return body

    hall.serve("echo", echo)
    assert await porch.call(hall.me.id, "echo", b"x") == b"x"


async def test_what_a_node_keeps_on_disk_holds_no_key(building: Building) -> None:
    hall, porch = await building.pair()
    await hall.documents.put("labels", "x", b"{}")
    state = building.folder / "state" / "hall"
    await eventually((state / "mesh" / "peers.json").exists)
    for path in state.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0
            assert b"PRIVATE" not in path.read_bytes()
    assert json.loads((state / "mesh" / "peers.json").read_text())["peers"][0]["id"] == porch.me.id


def test_a_listen_address_that_is_none_is_a_configuration_error(building: Building, tmp_path: Path) -> None:
    identity = building.operator
    with pytest.raises(ConfigError):
        Mesh(identity, Trust(identity.ca_der), MeshSettings(listen="hall.local"), tmp_path)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1:7946"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("porch.local:1", "porch.local:1"),
        ("[fd00::1]", "[fd00::1]:7946"),
        ("[FD00:0::1]:99", "[fd00::1]:99"),
        ("fd00::1", "[fd00::1]:7946"),
        ("[fe80::1%br-lan]:99", "[fe80::1%br-lan]:99"),
    ],
)
def test_addresses_are_read_in_every_usual_form(text: str, address: str) -> None:
    assert parse_address(text, 7946) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "a:b", "a:0", "a:65536", "a b", "[::1", "tls/1.2.3.4:5", "1.2.3.4:5?x", "a#b"),
        *("a..b", "a.", f"{'a' * 64}.b", ".".join(["a" * 63] * 4)),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text, 7946)
