from __future__ import annotations

import asyncio
import time

import pytest

from agent.errors import EdgeError, IdentityError, JoinRefused, Unreachable
from agent.identity import AdmissionDesk, Identity, IdentityStore, Renewal, renewal_handler, wire
from agent.identity.renewal import VERB, accept_renewal, is_due, renew_at, renewal_request
from tests.identity.meshes import Mesh, address, serving
from tests.support import eventually

DAY = 86400.0


def linked(mesh: Mesh, desk: AdmissionDesk | None = None) -> tuple[list[str], object]:
    handler = renewal_handler(desk or mesh.desk)
    asked: list[str] = []

    async def call(node: str, verb: str, body: bytes) -> bytes:
        assert verb == VERB
        asked.append(node)
        return await handler(mesh.trust.peer(mesh.identity.cert_der), body)

    return asked, call


def test_half_of_the_life_is_when_it_is_due(mesh: Mesh) -> None:
    assert not is_due(mesh.identity)
    assert not is_due(mesh.identity, time.time() + 199 * DAY)
    assert is_due(mesh.identity, time.time() + 201 * DAY)
    assert not is_due(mesh.identity, 0.0), "a device without a clock is not in a hurry"


async def test_a_member_renews_at_an_operator_and_keeps_it(mesh: Mesh) -> None:
    store, old = mesh.member("porch", life=100 * DAY)
    asked, call = linked(mesh)
    got: list[Identity] = []
    renewal = Renewal(old, store, call=call, operators=lambda: [mesh.identity.node_id], on_renewed=got.append)  # type: ignore[arg-type]
    task = asyncio.create_task(renewal.run())
    await eventually(lambda: got)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asked == [mesh.identity.node_id]
    assert got[0].not_after > old.not_after + 200 * DAY
    assert (got[0].node_id, got[0].name, got[0].role) == (old.node_id, "porch", "member")
    assert store.load() == got[0]


async def test_the_next_operator_is_asked_when_one_does_not_answer(mesh: Mesh) -> None:
    store, old = mesh.member("porch", life=DAY)
    _, call = linked(mesh)

    async def half_dead(node: str, verb: str, body: bytes) -> bytes:
        if node == "dead":
            raise Unreachable("no answer")
        return await call(node, verb, body)  # type: ignore[operator,no-any-return]

    renewal = Renewal(old, store, call=half_dead, operators=lambda: ["dead", "alive"], on_renewed=lambda _: None)
    assert (await renewal.renew()).not_after > old.not_after


async def test_no_operator_is_a_clear_error(mesh: Mesh) -> None:
    store, old = mesh.member("porch", life=DAY)
    _, call = linked(mesh)
    renewal = Renewal(old, store, call=call, operators=list, on_renewed=lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(IdentityError, match="no operator"):
        await renewal.renew()


async def test_an_operator_renews_itself(mesh: Mesh) -> None:
    _, call = linked(mesh)
    renewal = Renewal(mesh.identity, mesh.store, call=call, operators=list, on_renewed=lambda _: None)  # type: ignore[arg-type]
    renewed = await renewal.renew()
    assert renewed.cert_der != mesh.identity.cert_der
    assert renewed.ca_key_pem == mesh.identity.ca_key_pem
    assert mesh.store.load() == renewed


async def test_an_expired_node_renews_at_the_enrolment_port(mesh: Mesh) -> None:
    store, old = mesh.member("porch", life=-DAY)
    server = mesh.operator_server()
    async with serving(server):
        renewed = await renew_at(["127.0.0.1:1", address(server)], old, store)
    assert mesh.trust.peer(renewed.cert_der).id == old.node_id


async def test_an_expired_node_renews_through_a_relay(mesh: Mesh) -> None:
    store, old = mesh.member("porch", life=-DAY)
    operator = mesh.operator_server()

    async def relay(issuer: str, body: bytes) -> bytes:
        assert issuer == ""
        return await operator.redeem(body)

    server = mesh.member_server("garage", relay)
    async with serving(server):
        assert (await renew_at([address(server)], old, store)).node_id == old.node_id


async def test_a_removed_node_does_not_renew(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    store, old = mesh.member("porch", life=-DAY)
    mesh.trust.removed.add(old.node_id)
    server = mesh.operator_server()
    async with serving(server):
        with pytest.raises(JoinRefused) as caught:
            await renew_at([address(server)], old, store)
    assert caught.value.code == "identity.removed"
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


async def test_another_meshs_certificate_is_not_renewed(mesh: Mesh, other: Mesh) -> None:
    _, foreign = other.member("porch")
    with pytest.raises(EdgeError) as caught:
        await mesh.desk.handle(renewal_request(foreign))
    assert caught.value.code == "identity.foreign"
    store, mine = mesh.member("attic")
    server = other.operator_server()
    async with serving(server):
        with pytest.raises(JoinRefused) as caught:
            await renew_at([address(server)], mine, store)
    assert caught.value.code == "join.foreign"


async def test_a_certificate_is_renewed_only_for_its_own_key(mesh: Mesh) -> None:
    _, porch = mesh.member("porch")
    _, thief = mesh.member("thief")
    stolen = wire.Renew(porch.cert_der, thief.sign(wire.renewal_bytes(porch.ca_der, porch.cert_der)))
    with pytest.raises(IdentityError) as caught:
        await mesh.desk.handle(stolen)
    assert caught.value.code == "identity.signature"


async def test_a_promotion_and_a_new_name_come_with_the_next_renewal(mesh: Mesh) -> None:
    store, old = mesh.member("porch")
    mesh.desk._standing = lambda peer: ("veranda", "operator")
    _, call = linked(mesh)
    renewal = Renewal(old, store, call=call, operators=lambda: ["hall"], on_renewed=lambda _: None)  # type: ignore[arg-type]
    new = await renewal.renew()
    assert (new.name, new.is_operator) == ("veranda", True)
    assert IdentityStore(store.folder).load() == new
    assert new.issue(new.key.public_key(), role="member", name="x")


async def test_an_answer_for_another_node_is_not_kept(mesh: Mesh) -> None:
    store, mine = mesh.member("porch")
    _, theirs = mesh.member("garage")
    answer = wire.encode(await mesh.desk.handle(renewal_request(theirs)))
    with pytest.raises(IdentityError, match="another node"):
        accept_renewal(answer, mine, store)
    for junk in (b"", b"junk", wire.encode(wire.Waiting()), wire.encode(wire.Admitted(b"{}"))):
        with pytest.raises(IdentityError):
            accept_renewal(junk, mine, store)
    assert store.load() == mine


@pytest.mark.parametrize("body", [b"", b"junk", b"x" * 100_000, wire.encode(wire.Hello())])
async def test_the_handler_refuses_what_is_no_renewal(mesh: Mesh, body: bytes) -> None:
    with pytest.raises(JoinRefused):
        await renewal_handler(mesh.desk)(mesh.trust.peer(mesh.identity.cert_der), body)
