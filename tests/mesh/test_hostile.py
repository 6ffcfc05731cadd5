"""A member with a valid certificate that means harm: what it sends stops nobody and grows without bound nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import EdgeError, Refused
from agent.identity import Identity, PeerIdentity, Trust, sign_envelope
from agent.mesh import REMOVAL, Documents, MeshSettings, wire
from agent.mesh import liveness as presence
from agent.mesh.documents import MAX_BAD, MAX_DOCUMENTS, PAYLOAD_TYPE
from agent.mesh.introducer import MAX_ENDPOINTS, MAX_UNPROVEN, Introducer
from agent.mesh.limits import Refusals
from agent.mesh.session import MeshSession
from agent.mesh.wire import DocumentDigest, DocumentKey, Envelopes
from tests.mesh.building import Building
from tests.support import eventually

KINDS = (wire.Request, wire.Reply, wire.Sealed, wire.Failure, wire.Presence, wire.LogBatch, wire.MissingDocuments)
NO_TEXT = b"\x95\xa1\xff\xa1\xff\xa1\xff\xa1\xff\x80"
"""An array of texts that are no UTF-8."""
NESTED = b"\x94\xc4\x00\xc4\x00\xc4\x00" + b"\x91" * 15_000 + b"\x90"
"""Bytes, and one field too many that is nested 15,000 deep."""


@pytest.mark.parametrize("kind", KINDS)
@given(raw=st.one_of(st.binary(max_size=64), st.sampled_from([NO_TEXT, NESTED, b"\x91" * 15_000])))
def test_every_damaged_message_is_one_kind_of_error(kind: type, raw: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        wire.decode(kind, raw)


def test_text_that_is_no_text_and_endless_nesting_are_damage() -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode(wire.Failure, NO_TEXT)
    with pytest.raises(msgspec.DecodeError):
        wire.decode(wire.Sealed, NESTED)


@pytest.mark.parametrize("damage", [NO_TEXT, NESTED], ids=["no text", "nested"])
async def test_damaged_answers_of_a_member_stop_no_other_node(building: Building, damage: bytes) -> None:
    asked: set[str] = set()

    def answering(verb: str) -> None:
        async def answer(peer: PeerIdentity, body: bytes) -> bytes:
            asked.add(verb)
            return damage

        porch.serve(verb, answer)

    hall, porch = await building.pair(publish_every=0.2)
    for verb in ("mesh.hello", "doc.digest"):
        answering(verb)
    await porch.reopen()  # it receives the token again, so it is asked
    await eventually(lambda: asked >= {"mesh.hello", "doc.digest"}, 20)
    third = await building.start("garage", join=("hall",))
    await eventually(lambda: third.is_live(hall.me.id) and hall.is_live(third.me.id), 20)
    assert not any(task.done() for _, task in building.running.values())


async def test_tokens_of_nodes_that_do_not_exist_keep_no_real_one_out(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "MAX_NODES", 8)
    hall, porch = await building.pair()
    thief = building.identity("thief")
    keys = wire.Keys(thief.mesh_id)
    async with building.raw_session(thief, "hall", "porch") as session:
        names = [f"{'abcdefgh'[i % 8] * 19}{'234567'[i // 8]}" for i in range(40)]
        tokens = [session.liveliness().declare_token(keys.alive(n)) for n in [*names, "no-node"]]
        await eventually(lambda: "token that does not name a node" in hall.refused)
        late = await building.start("late", join=("hall",))
        await eventually(lambda: hall.is_live(late.me.id), 20)
        assert hall.is_live(porch.me.id)
        for token in tokens:
            token.undeclare()


@pytest.mark.parametrize(("told", "taken"), [(math.nan, 0.0), (-1.0, 0.0), (math.inf, presence.MAX_PAUSE), (2.0, 2.0)])
async def test_a_pause_is_a_number_within_limits_whatever_was_told(
    building: Building, told: float, taken: float
) -> None:
    hall, porch = building.mesh("hall"), building.mesh("porch")
    raw = porch._presence.sealed(told)
    assert hall._presence._opened(porch.me.id, raw).pause == taken


async def test_silent_announced_addresses_push_no_other_out(building: Building) -> None:
    introducer = Introducer(MeshSession(building.operator, MeshSettings()), MeshSettings())
    introducer.add("10.0.0.1:7946", asked_for=True)  # what the owner wrote, and is away now
    introducer.add("10.0.0.2:7946", "abcdefghijklmnopqrst")
    introducer.add("10.0.0.3:7946", asked_for=True, discovered=True)
    introducer._endpoints["10.0.0.3:7946"].node = "bcdefghijklmnopqrstu"  # it has answered
    for n in range(3 * MAX_ENDPOINTS):
        introducer.add(f"10.1.{n // 250}.{n % 250}:1", asked_for=True, discovered=True)
    assert {f"10.0.0.{n}:7946" for n in (1, 2, 3)} <= {e.address for e in introducer.known()}
    assert len(introducer.known()) == 3 + MAX_UNPROVEN
    assert f"10.1.{n // 250}.{n % 250}:1" in {e.address for e in introducer.known()}


def documents(identity: Identity, folder: Path) -> Documents:
    return Documents(identity, Trust(identity.ca_der), folder, Refusals())


async def test_a_message_of_bad_documents_is_not_read_to_its_end(building: Building) -> None:
    refusals = Refusals()
    kept = Documents(building.operator, Trust(building.operator.ca_der), building.folder / "d", refusals)
    peer = Trust(building.operator.ca_der).peer(building.identity("porch").cert_der)
    with pytest.raises(EdgeError):
        await kept.accept(peer, wire.encode(Envelopes([b""] * 100_000)))
    assert refusals.counts.total() == MAX_BAD
    many = [DocumentKey("a", "b", 1, "c")] * (MAX_DOCUMENTS + 1)
    with pytest.raises(Refused):
        await kept.compare(peer, wire.encode(DocumentDigest(many)))


async def test_an_operator_is_removed_whatever_it_signed_before(building: Building) -> None:
    """The highest counter there is leaves no room to sign its document again."""
    second = building.identity("second", "operator")
    last = wire.DocumentPayload(mesh=second.mesh_id, kind="labels", name="x", counter=(1 << 53) - 1, body=b"mine")
    ours = documents(building.operator, building.folder / "d")
    await ours.receive(sign_envelope(second, PAYLOAD_TYPE, msgspec.json.encode(last)))
    await ours.put(REMOVAL, second.node_id, b"")
    assert second.node_id in ours.trust.removed


async def test_other_work_goes_on_while_documents_are_checked(building: Building) -> None:
    ours = documents(building.operator, building.folder / "d")
    envelopes = [(await ours.put("labels", f"n{i}", b"x")).envelope for i in range(20)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    peer = Trust(building.operator.ca_der).peer(building.operator.cert_der)
    await ours.accept(peer, wire.encode(Envelopes(envelopes)))
    counting.cancel()
    assert turns >= 20
