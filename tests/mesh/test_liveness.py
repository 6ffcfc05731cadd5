from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest

from agent.errors import NotFound, Unreachable
from agent.mesh import Mesh, wire
from agent.mesh.wire import Presence, Sealed
from agent.model.node import CameraInfo, NodeRecord
from tests.mesh.building import Building, met, quiet
from tests.support import eventually

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.mesh.building import Building
async def main():
    building = Building.__new__(Building)
    building.__dict__.update(folder=Path(sys.argv[1]), ports={"porch": int(sys.argv[2]), "hall": int(sys.argv[3])}, running={})
    from agent.identity import IdentityStore
    building.operator = IdentityStore(building.folder / "ids" / "hall").load()
    await building.start("porch", join=("hall",))
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_nodes_see_names_and_roles_of_their_certificates(
    building: Building,
) -> None:
    hall, porch = await building.pair()
    assert [r.id for r in hall.live()] == [hall.me.id, porch.me.id]
    seen = porch.node("hall")
    assert (seen.id, seen.role) == (hall.me.id, "operator")
    assert porch.node(hall.me.id).name == "hall"
    assert porch.is_live(hall.me.id)
    assert hall.is_live(hall.me.id)
    with pytest.raises(NotFound) as error:
        hall.node("porhc")
    assert "porch" in error.value.hint


async def test_what_a_node_announces_reaches_the_others_at_once(building: Building) -> None:
    hall, porch = await building.pair(publish_every=30.0)
    told: list[tuple[str, bool]] = []
    hall.on_change(lambda record, alive: told.append((record.name, alive)))
    porch.announce(labels={"camera": "true", "arch": "armv7"}, cameras=[CameraInfo("door", "file")])
    await eventually(lambda: hall.node("porch").cameras == [CameraInfo("door", "file")], 2)
    assert hall.node("porch").labels == {
        "camera": "true", "arch": "armv7", "node": "porch", "id": porch.me.id,
    }  # fmt: skip
    assert ("porch", True) in told
    with pytest.raises(TypeError):
        porch.announce(colour="red")


async def test_signed_labels_replace_what_a_node_says_of_itself(building: Building) -> None:
    hall, porch = await building.pair()
    hall.show_labels(lambda node: {"role": "ap"} if node == porch.me.id else {})
    porch.announce(labels={"gpu": "true", "arch": "armv7", "node": "hall", "id": hall.me.id})
    await eventually(lambda: "arch" in hall.node("porch").labels)
    assert hall.node("porch").labels == {"role": "ap", "arch": "armv7", "node": "porch", "id": porch.me.id}
    told: list[NodeRecord] = []
    hall.on_change(lambda record, alive: told.append(record))
    hall.show_labels(lambda node: {"role": "gate"})
    hall.reconsider(porch.me.id)
    assert [r.labels["role"] for r in told] == ["gate"]


async def test_a_killed_node_is_soon_dead_and_alive_when_it_returns(building: Building) -> None:
    hall = await building.start("hall")
    identity = building.identity("porch")
    port = building.address("porch").rpartition(":")[2]

    async def child() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(building.folder), port, str(building.ports["hall"])
        )

    ends: list[bool] = []
    hall.on_change(lambda record, alive: ends.append(alive) if record.id == identity.node_id else None)
    process = await child()
    try:
        await eventually(lambda: hall.is_live(identity.node_id), 20)
        process.kill()
        await eventually(lambda: not hall.is_live(identity.node_id), 3)
        await eventually(lambda: ends[-1] is False)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    process = await child()
    try:
        await eventually(lambda: hall.is_live(identity.node_id), 20)
        await eventually(lambda: ends[-1] is True)
    finally:
        process.kill()
        await process.wait()


async def test_a_node_that_stops_leaves_a_record_but_is_not_alive(building: Building) -> None:
    hall, porch = await building.pair()
    await building.stop("porch")
    await eventually(lambda: not hall.is_live(porch.me.id))
    assert hall.node("porch").id == porch.me.id
    assert [r.name for r in hall.known()] == ["hall", "porch"]
    assert [r.name for r in hall.live()] == ["hall"]


async def test_a_returning_token_alone_makes_no_node_alive(building: Building) -> None:
    hall, porch = await building.pair()
    told: list[bool] = []
    hall.on_change(lambda record, alive: told.append(alive) if record.id == porch.me.id else None)
    await building.stop("porch")
    await eventually(lambda: False in told)
    keys = wire.Keys(building.operator.mesh_id)
    async with building.raw_session(building.identity("garage"), "hall") as session:
        asked: list[object] = []  # a request that is kept is never answered: it times out
        queries = session.declare_queryable(keys.rpc(porch.me.id, "*"), quiet(asked.append))
        token = session.liveliness().declare_token(keys.alive(porch.me.id))
        await eventually(lambda: asked, 10)
        assert not hall.is_live(porch.me.id)
        await eventually(lambda: len(asked) > 1, 10)  # after the first has failed
        assert told[-1] is False
        token.undeclare()
        queries.undeclare()
    back = building.mesh("porch", join=("hall",))
    await building.start("porch", back)
    await met(hall, back)
    assert told[-1] is True


async def test_a_token_without_the_key_of_its_node_makes_nobody_alive(building: Building) -> None:
    hall, porch = await building.pair()
    thief, victim = building.identity("garage"), building.identity("gpu")
    keys = wire.Keys(thief.mesh_id)
    record = NodeRecord(id=victim.node_id, name="gpu", boot=porch.boot, sequence=10**6, certificate=victim.cert_der)
    content = wire.encode(Presence(record))
    forged = wire.encode(Sealed(content, thief.sign(wire.PRESENCE + content)))
    async with building.raw_session(thief, "hall", "porch") as session:
        token = session.liveliness().declare_token(keys.alive(victim.node_id))

        async def until_refused() -> None:
            while "presence record that is forged or damaged" not in hall.refused:
                session.put(keys.presence(victim.node_id), forged)
                await asyncio.sleep(0.05)

        await asyncio.wait_for(until_refused(), 10)
        assert not hall.is_live(victim.node_id)
        # The thief's own record in the victim's place is no better.
        own = msgspec.structs.replace(record, certificate=thief.cert_der)
        content = wire.encode(Presence(own))
        session.put(keys.presence(victim.node_id), wire.encode(Sealed(content, thief.sign(wire.PRESENCE + content))))
        count = hall.refused["presence record that is forged or damaged"]
        await eventually(lambda: hall.refused["presence record that is forged or damaged"] > count)
        assert not hall.is_live(victim.node_id)
        token.undeclare()


async def test_a_replayed_record_makes_a_node_neither_alive_nor_older(building: Building) -> None:
    hall, porch = await building.pair()
    thief = building.identity("garage")
    keys = wire.Keys(thief.mesh_id)
    old: list[bytes] = []
    async with building.raw_session(thief, "hall", "porch") as session:
        subscriber = session.declare_subscriber(
            keys.presence(porch.me.id), lambda sample: old.append(sample.payload.to_bytes())
        )
        await eventually(lambda: old)
        porch.announce(labels={"new": "true"})
        await eventually(lambda: "new" in hall.node("porch").labels)
        subscriber.undeclare()
        session.put(keys.presence(porch.me.id), old[0])
        await building.stop("porch")
        token = session.liveliness().declare_token(keys.alive(porch.me.id))
        fresh = building.mesh("gpu", join=("hall",))  # it has never heard of porch
        await building.start("gpu", fresh)
        await met(hall, fresh)
        await eventually(lambda: not hall.is_live(porch.me.id))
        for _ in range(5):
            session.put(keys.presence(porch.me.id), old[0])
        await _settled(hall, fresh)
        assert "new" in hall.node("porch").labels
        assert not fresh.is_live(porch.me.id)
        assert not hall.is_live(porch.me.id)
        token.undeclare()


async def _settled(*meshes: Mesh) -> None:
    """A message of each has reached the others, so what was sent before has too."""
    for number, mesh in enumerate(meshes):
        mesh.announce(version=f"v{number}")
    for number, mesh in enumerate(meshes):
        await eventually(lambda: all(m.node(mesh.me.id).version == f"v{number}" for m in meshes))


async def test_a_reopened_session_is_not_counted_lost_and_serves(building: Building) -> None:
    hall, porch = await building.pair()

    async def echo(peer: object, body: bytes) -> bytes:
        return body

    porch.serve("echo", echo)
    lost: list[str] = []
    hall.on_change(lambda record, alive: None if alive else lost.append(record.name))
    porch.on_change(lambda record, alive: None if alive else lost.append(record.name))
    before = porch.links()[0].session
    await porch.reopen()
    await eventually(lambda: porch.links() and hall.links() and hall.node("porch").sequence > 1)
    assert porch.links()[0].session == before  # hall's session is the old one, porch's is new
    await met(hall, porch)
    async with asyncio.timeout(10):
        while await _answer(hall, porch) != b"x":
            await asyncio.sleep(0.05)
    assert lost == []


async def _answer(asker: Mesh, asked: Mesh) -> bytes:
    try:
        return await asker.call(asked.me.id, "echo", b"x", timeout=1)
    except Unreachable:
        return b""


async def test_a_member_with_another_protocol_is_refused_and_named(building: Building) -> None:
    hall, porch = await building.pair()
    porch.announce(protocol=2, version="9.0.0")
    await eventually(lambda: [(r.name, r.version, r.protocol) for r in hall.strangers()] == [("porch", "9.0.0", 2)])
    porch.announce(protocol=1, version="0.1.0")
    await eventually(lambda: not hall.strangers() and hall.node("porch").version == "0.1.0")
