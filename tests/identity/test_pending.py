from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import JoinRefused, NotFound, Unreachable
from agent.identity import IdentityStore, Joined, PendingBook, wait_as_pending, wire
from agent.identity.certificates import make_csr
from agent.identity.keys import generate_key, node_id_of
from agent.identity.pending import MAX_COMMITTED, MAX_PENDING, code_of, commitment_of, new_nonce
from tests.identity.meshes import Mesh, address, serving
from tests.support import eventually


class Waiter:
    """A node without a token that waits near a mesh."""

    def __init__(self, folder: Path, mesh_id: str, *addresses: str, name: str = "porch") -> None:
        self.store = IdentityStore(folder)
        self.codes: list[str] = []
        self.said: list[str] = []
        self.task: asyncio.Task[Joined] = asyncio.create_task(
            wait_as_pending(
                addresses,
                mesh_id,
                self.store,
                name,
                self.said.append,
                on_code=self.codes.append,
                labels={"camera": "true"},
                interval=0.05,
            )
        )


async def test_a_node_that_a_human_approves_by_its_code_is_in(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server), name="Porch")
        await eventually(mesh.desk.pending.list)
        (shown,) = mesh.desk.pending.list()
        assert [shown.code] == waiter.codes
        assert (shown.name, shown.labels) == ("porch", {"camera": "true"})
        assert waiter.store.load() is None
        await mesh.desk.approve(waiter.codes[0].upper().replace("-", " "), labels={"room": "porch"})
        joined = await asyncio.wait_for(waiter.task, 10)
    assert waiter.store.load() == joined.identity
    assert joined.labels == {"camera": "true", "room": "porch"}
    assert mesh.joined == [(joined.identity.node_id, "porch", "member", joined.labels)]
    assert mesh.desk.pending.list() == []
    assert any(waiter.codes[0] in line for line in waiter.said)


async def test_a_node_that_is_turned_away_hears_it(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        await eventually(mesh.desk.pending.list)
        mesh.desk.deny(waiter.codes[0])
        with pytest.raises(JoinRefused) as caught:
            await asyncio.wait_for(waiter.task, 10)
    assert caught.value.code == "join.denied"
    assert mesh.joined == []


async def test_a_wrong_code_approves_nobody(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        await eventually(mesh.desk.pending.list)
        with pytest.raises(NotFound):
            await mesh.desk.approve("aaaa-aaaa")
        assert len(mesh.desk.pending.list()) == 1
        waiter.task.cancel()
        await asyncio.gather(waiter.task, return_exceptions=True)


async def test_pending_works_through_a_relay(mesh: Mesh, tmp_path: Path) -> None:
    operator, asked = mesh.operator_server(), set()

    async def relay(issuer: str, body: bytes) -> bytes:
        asked.add(issuer)
        return await operator.redeem(body)

    server = mesh.member_server("garage", relay)
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        await eventually(mesh.desk.pending.list)
        await mesh.desk.approve(waiter.codes[0])
        await asyncio.wait_for(waiter.task, 10)
    assert asked == {"", mesh.identity.node_id}, "any operator first, then the one that knows the node"


async def test_a_restarted_operator_shows_the_node_with_a_new_code(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        await eventually(lambda: waiter.codes)
        mesh.desk.pending = PendingBook()
        await eventually(lambda: len(waiter.codes) == 2 and mesh.desk.pending.list())
        assert waiter.codes[0] != waiter.codes[1]
        await mesh.desk.approve(waiter.codes[1])
        await asyncio.wait_for(waiter.task, 10)


async def test_it_waits_while_the_mesh_is_away(mesh: Mesh, tmp_path: Path) -> None:
    server = mesh.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        await eventually(lambda: waiter.codes)
    await eventually(lambda: any("answers" in line for line in waiter.said))
    async with serving(server):
        await mesh.desk.approve(waiter.codes[0])
        await asyncio.wait_for(waiter.task, 10)


async def test_a_mesh_that_is_not_the_one_heard_is_refused(mesh: Mesh, other: Mesh, tmp_path: Path) -> None:
    server = other.operator_server()
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        with pytest.raises(JoinRefused) as caught:
            await asyncio.wait_for(waiter.task, 10)
    assert caught.value.code == "join.foreign"


async def test_a_removed_key_cannot_wait(mesh: Mesh, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = mesh.operator_server()
    mesh.trust.removed.add(node_id_of(IdentityStore(tmp_path / "new").pending_key().public_key()))
    async with serving(server):
        waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, address(server))
        with pytest.raises(JoinRefused) as caught:
            await asyncio.wait_for(waiter.task, 10)
    assert caught.value.code == "join.removed"


def test_the_code_depends_on_key_ca_and_both_nonces(mesh: Mesh, other: Mesh) -> None:
    mine, theirs = generate_key().public_key(), generate_key().public_key()
    a, b = new_nonce(), new_nonce()
    ca = mesh.identity.ca_der
    codes = {
        code_of(ca, mine, a, b),
        code_of(ca, theirs, a, b),
        code_of(other.identity.ca_der, mine, a, b),
        code_of(ca, mine, b, b),
        code_of(ca, mine, a, a),
    }
    assert len(codes) == 5
    assert code_of(ca, mine, a, b) == code_of(ca, mine, a, b)


async def test_somebody_in_the_middle_cannot_choose_the_code(mesh: Mesh) -> None:
    """After the operator's nonce is known, neither another key nor another nonce fits the commitment."""
    key, nonce = generate_key(), new_nonce()
    commitment = commitment_of(mesh.identity.ca_der, key.public_key(), nonce)
    committed = await mesh.desk.handle(wire.Commit(commitment))
    assert isinstance(committed, wire.Committed)
    for changed_key, changed_nonce in [(generate_key(), nonce), (key, new_nonce()), (key, b"")]:
        poll = wire.Poll(mesh.identity.node_id, commitment, changed_nonce, make_csr(changed_key), "porch", {})
        with pytest.raises(JoinRefused) as caught:
            await mesh.desk.handle(poll)
        assert caught.value.code == "join.commitment"
    assert mesh.desk.pending.list() == []


async def test_a_restarted_node_waits_with_its_new_code_alone(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = generate_key(), 1000.0
    monkeypatch.setattr("agent.identity.pending.time.monotonic", lambda: now)
    await _poll(mesh, key)
    (old,) = mesh.desk.pending.list()
    now += 4
    await _poll(mesh, key)
    assert len(mesh.desk.pending.list()) == 2  # somebody may have copied its request: both stay while both ask
    new = next(n for n in mesh.desk.pending.list() if n is not old)
    await mesh.desk.approve(new.code)
    assert mesh.desk.pending.list() == []
    now += 4
    await _poll(mesh, key)  # it lost its admission, and asks again
    assert len(mesh.desk.pending.list()) == 1
    now += 11
    await _poll(mesh, key)
    assert len(mesh.desk.pending.list()) == 1


async def _poll(mesh: Mesh, key: ec.EllipticCurvePrivateKey | None = None) -> wire.Answer:
    key, nonce = key or generate_key(), new_nonce()
    commitment = commitment_of(mesh.identity.ca_der, key.public_key(), nonce)
    await mesh.desk.handle(wire.Commit(commitment))
    return await mesh.desk.handle(wire.Poll(mesh.identity.node_id, commitment, nonce, make_csr(key), "porch", {}))


async def test_waiting_nodes_are_limited_in_number_and_age(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(MAX_PENDING):
        await _poll(mesh)
    with pytest.raises(JoinRefused) as caught:
        await _poll(mesh)
    assert caught.value.code == "join.busy"
    for n in range(MAX_COMMITTED - 1):
        await mesh.desk.handle(wire.Commit(n.to_bytes(32, "big")))
    with pytest.raises(JoinRefused) as caught:
        await mesh.desk.handle(wire.Commit(b"\xff" * 32))
    assert caught.value.code == "join.busy"
    import time

    now = time.monotonic()
    monkeypatch.setattr("agent.identity.pending.time.monotonic", lambda: now + 1000)
    assert mesh.desk.pending.list() == []
    assert isinstance(await _poll(mesh), wire.Waiting)


async def test_an_unreachable_mesh_is_waited_for_and_named(mesh: Mesh, tmp_path: Path) -> None:
    waiter = Waiter(tmp_path / "new", mesh.identity.mesh_id, "127.0.0.1:1")
    await eventually(lambda: waiter.said)
    assert "127.0.0.1:1" in waiter.said[0]
    waiter.task.cancel()
    ended = await asyncio.gather(waiter.task, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert not isinstance(ended[0], Unreachable)


async def test_a_refused_poll_is_one_line(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = mesh.operator_server()
    with pytest.raises(JoinRefused):
        await server.redeem(wire.encode(wire.Poll("", b"", b"", b"junk", "x", {})))
    assert len(caplog.records) == 1
