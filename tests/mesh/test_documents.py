from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import EdgeError, IdentityError, Refused, Unreachable
from agent.identity import Identity, Trust, sign_envelope
from agent.mesh import REMOVAL, Document, Documents
from agent.mesh.documents import MAX_DOCUMENT, PAYLOAD_TYPE
from agent.mesh.limits import Refusals
from tests.mesh.building import Building, met
from tests.support import eventually


def documents(identity: Identity, folder: Path) -> Documents:
    return Documents(identity, Trust(identity.ca_der), folder, Refusals())


async def test_a_document_or_a_removal_overrides_the_previous_one(building: Building) -> None:
    kept = documents(building.operator, building.folder / "d")
    told: list[Document] = []
    kept.on_change(told.append)
    first = await kept.put("pipeline", "door", b"one")
    second = await kept.put("pipeline", "door", b"two")
    assert (first.counter, second.counter, second.signer) == (1, 2, building.operator.node_id)
    assert kept.get("pipeline", "door") == second
    assert [d.body for d in kept.list("pipeline")] == [b"two"]
    gone = await kept.put("pipeline", "door", b"", removed=True)
    assert kept.get("pipeline", "door") is None
    assert kept.list("pipeline") == []
    assert (await kept.put("pipeline", "door", b"three")).counter == 4
    assert told[:3] == [first, second, gone]


async def test_documents_survive_a_restart_beside_a_damaged_file(
    building: Building, caplog: pytest.LogCaptureFixture
) -> None:
    folder = building.folder / "d"
    kept = documents(building.operator, folder)
    await kept.put("labels", "a", b"1")
    await kept.put("labels", "b", b"2")
    (folder / "labels" / "a.json").write_bytes(b"{broken")
    assert (folder / "labels" / "b.json").stat().st_mode & 0o777 == 0o600
    again = documents(building.operator, folder)
    assert [d.name for d in again.list("labels")] == ["b"]
    assert "a.json is not used" in caplog.text


async def test_a_document_that_the_disk_refuses_is_asked_for_again(
    building: Building, caplog: pytest.LogCaptureFixture
) -> None:
    hall, porch = await building.pair(exchange_every=0.2)
    folder = building.folder / "state" / "porch" / "documents"
    folder.mkdir(exist_ok=True)
    (folder / "label").write_bytes(b"")  # nothing can be written below it
    document = await hall.documents.put("label", "door", b"x")
    assert await hall.spread(document) == [hall.node("porch")]
    await eventually(lambda: "cannot be kept" in caplog.text)
    caplog.clear()
    await eventually(lambda: "cannot be kept" in caplog.text)  # this time porch asked for it
    assert not building.running["porch"][1].done()
    (folder / REMOVAL).write_bytes(b"")
    await hall.documents.put(REMOVAL, "thief", b"")
    await hall.documents.put("pipeline", "door", b"x")
    await eventually(lambda: porch.documents.get("pipeline", "door"))  # what comes after them
    await eventually(lambda: "thief" in porch.trust.removed)
    (folder / REMOVAL).unlink()
    await eventually(lambda: porch.documents.get(REMOVAL, "thief"))
    (folder / "label").unlink()
    await eventually(lambda: porch.documents.get("label", "door"))
    assert not porch.refused


@pytest.mark.parametrize("payload", [b'{"kind": "\xff"}', b'{"more": ' + b"[" * 100_000])
async def test_signed_bytes_that_are_no_document_are_refused(building: Building, payload: bytes) -> None:
    kept = documents(building.operator, building.folder / "d")
    with pytest.raises(Refused):
        await kept.receive(sign_envelope(building.operator, PAYLOAD_TYPE, payload))


async def test_only_operators_sign_for_this_mesh_and_within_limits(building: Building) -> None:
    kept = documents(building.operator, building.folder / "d")
    member = building.identity("porch")
    with pytest.raises(Refused) as refused:
        await documents(member, building.folder / "m").put("pipeline", "door", b"")
    assert refused.value.code == "not-operator"
    good = (await kept.put("pipeline", "door", b"x")).envelope
    with pytest.raises(IdentityError):
        await kept.receive(sign_envelope(member, PAYLOAD_TYPE, b"{}"))
    with pytest.raises(IdentityError):
        await kept.receive(good.replace(b'"sig":"', b'"sig":"A'))
    other = Building(building.folder / "elsewhere").operator
    foreign = (await documents(other, building.folder / "o").put("pipeline", "door", b"y")).envelope
    with pytest.raises(IdentityError):
        await kept.receive(foreign)
    for name in ("../up", "a/b", "", "x" * 200, ".hidden"):
        with pytest.raises(Refused):
            await kept.put("pipeline", name, b"")
    with pytest.raises(EdgeError):
        await kept.put("pipeline", "big", bytes(MAX_DOCUMENT + 1))
    with pytest.raises(Refused):
        await kept.receive(sign_envelope(building.operator, PAYLOAD_TYPE, b'{"mesh": 1}'))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
async def test_nodes_agree_whatever_the_order_in_which_they_hear(order: list[int], again: list[int]) -> None:
    envelopes = _CONFLICTING
    assert envelopes is not None
    identity, raws, folders = envelopes
    here = documents(identity, folders / f"p{next(_NUMBER)}")
    for index in [*order, *again]:
        await here.receive(raws[index])
    ranks = [documents_rank(identity, raw, folders) for raw in raws]
    winner = await max_rank(ranks)
    kept = [d for d in here.all() if d.name == "x"]
    assert [d.rank for d in kept] == [winner]


_NUMBER = itertools.count()
_CONFLICTING: tuple[Identity, list[bytes], Path] | None = None


async def documents_rank(identity: Identity, raw: bytes, folder: Path) -> tuple[int, str]:
    alone = documents(identity, folder / f"r{next(_NUMBER)}")
    await alone.receive(raw)
    return alone.all()[0].rank


async def max_rank(ranks: list[object]) -> tuple[int, str]:
    return max([await r for r in ranks])  # type: ignore[misc]


@pytest.fixture(autouse=True)
async def conflicting(tmp_path: Path) -> None:
    """Six versions of one document by two operators that did not hear of each other."""
    global _CONFLICTING
    if _CONFLICTING is None:
        building = Building(tmp_path / "conflict")
        second = building.identity("second", "operator")
        raws = []
        for number, identity in enumerate((building.operator, second)):
            kept = documents(identity, tmp_path / f"c{number}")
            for body in (b"a", b"b", b"c"):
                raws.append((await kept.put("labels", "x", body + str(number).encode())).envelope)
        _CONFLICTING = (building.operator, raws, tmp_path / "conflict")


async def test_a_document_reaches_live_nodes_and_returning_ones(
    building: Building,
) -> None:
    hall, porch = await building.pair()
    garage = await building.start("garage", join=("hall",))
    await met(hall, porch, garage)
    await building.stop("garage")
    await eventually(lambda: not hall.is_live(garage.me.id))
    put = await hall.documents.put("pipeline", "door", b"one")
    await eventually(lambda: porch.documents.get("pipeline", "door") == put)
    assert await hall.spread(put) == []
    await building.stop("hall")  # the signer may be gone: any node that has it tells it on
    garage = await building.start("garage", join=("porch",))
    await met(porch, garage)
    await eventually(lambda: garage.documents.get("pipeline", "door") == put)


async def test_many_and_large_documents_are_exchanged_whole(building: Building) -> None:
    hall = building.mesh("hall")
    for number in range(12):
        await hall.documents.put("pipeline", f"p{number}", bytes([number]) * 900_000)
    await building.start("hall", hall)
    porch = await building.start("porch", join=("hall",))
    await eventually(lambda: len(porch.documents.list("pipeline")) == 12, 30)
    assert porch.documents.all() == hall.documents.all()


async def test_a_removed_node_is_shut_out_at_once_and_for_good(building: Building) -> None:
    hall, porch = await building.pair()
    garage = await building.start("garage", join=("hall",))
    await met(hall, porch, garage)

    async def echo(peer: object, body: bytes) -> bytes:
        return body

    for mesh in (hall, porch, garage):
        mesh.serve("echo", echo)
    assert await garage.call(porch.me.id, "echo", b"x") == b"x"
    removal = await hall.documents.put(REMOVAL, garage.me.id, b"")
    assert not hall.is_live(garage.me.id)
    await eventually(lambda: porch.documents.get(REMOVAL, garage.me.id) == removal)
    assert not porch.is_live(garage.me.id)
    with pytest.raises((Unreachable, Refused)):
        await garage.call(porch.me.id, "echo", b"x", timeout=2)
    # Then the sessions reopen, one after the other, and none of its messages pass any more.
    await eventually(lambda: garage.me.id in hall.denied and garage.me.id in porch.denied, 20)
    await eventually(lambda: not garage.is_live(hall.me.id) and not garage.is_live(porch.me.id), 20)
    await met(hall, porch)
    assert await hall.call(porch.me.id, "echo", b"x") == b"x"
    with pytest.raises(Unreachable):
        await garage.call(hall.me.id, "echo", b"x", timeout=1)


async def test_documents_of_an_operator_that_is_removed_stay_in_force(building: Building) -> None:
    second = building.identity("second", "operator")
    theirs = documents(second, building.folder / "s")
    ours = documents(building.operator, building.folder / "d")
    await ours.receive((await theirs.put("labels", "x", b"by second")).envelope)
    await ours.put(REMOVAL, second.node_id, b"")
    document = ours.get("labels", "x")
    assert document is not None
    assert (document.signer, document.body) == (building.operator.node_id, b"by second")
    newcomer = documents(building.identity("porch"), building.folder / "n")
    for one in reversed(ours.all()):
        await newcomer.receive(one.envelope)
    assert newcomer.get("labels", "x") == document
    with pytest.raises(IdentityError):
        await newcomer.receive((await theirs.put("labels", "x", b"again")).envelope)
