from __future__ import annotations

import asyncio

import pytest
import zenoh

from agent.errors import EdgeError, NotFound, Refused, StepFailed, Unreachable
from agent.identity import PeerIdentity
from agent.mesh import Mesh, wire
from agent.mesh.wire import Reply, Request, Sealed
from tests.mesh.building import Building, met, quiet
from tests.support import eventually


async def echo(peer: PeerIdentity, body: bytes) -> bytes:
    return peer.name.encode() + b":" + body


async def test_the_addressee_answers_and_knows_the_caller(building: Building) -> None:
    hall, porch = await building.pair()
    hall.serve("echo", echo)
    porch.serve("echo", echo)
    assert await porch.call(hall.me.id, "echo", b"x") == b"porch:x"
    assert await hall.call(porch.me.id, "echo", b"y") == b"hall:y"
    assert await hall.call(hall.me.id, "echo", b"z") == b"hall:z"


async def test_large_bodies_go_through_whole_and_several_at_once(building: Building) -> None:
    hall, porch = await building.pair()
    hall.serve("blob.get", echo)
    bodies = [bytes([i]) * (3 << 20) for i in range(6)]
    answers = await asyncio.gather(*(porch.call(hall.me.id, "blob.get", b, timeout=20) for b in bodies))
    assert answers == [b"porch:" + b for b in bodies]


async def test_errors_travel_with_class_code_hint_and_fields(building: Building) -> None:
    hall, porch = await building.pair()

    async def refuse(peer: PeerIdentity, body: bytes) -> bytes:
        raise Refused("the queue is full", hint="wait", code="queue.full", open=7)

    async def fail(peer: PeerIdentity, body: bytes) -> bytes:
        raise StepFailed("no", final=True)

    hall.serve("refuse", refuse)
    hall.serve("fail", fail)
    with pytest.raises(Refused) as refused:
        await porch.call(hall.me.id, "refuse", b"")
    assert refused.value.to_dict() == {
        "code": "queue.full", "message": "the queue is full", "hint": "wait", "open": 7,
    }  # fmt: skip
    with pytest.raises(StepFailed) as failed:
        await porch.call(hall.me.id, "fail", b"")
    assert failed.value.final
    with pytest.raises(NotFound) as unknown:
        await porch.call(hall.me.id, "nothing", b"")
    assert unknown.value.code == "mesh.verb"


async def test_a_broken_handler_is_logged_and_hides_its_reason(
    building: Building, caplog: pytest.LogCaptureFixture
) -> None:
    hall, porch = await building.pair()

    async def broken(peer: PeerIdentity, body: bytes) -> bytes:
        raise ValueError("a secret")

    hall.serve("broken", broken)
    with pytest.raises(EdgeError) as error:
        await porch.call(hall.me.id, "broken", b"")
    assert error.value.code == "internal"
    assert "secret" not in str(error.value.to_dict())
    assert "a secret" in caplog.text


async def test_bodies_over_a_verbs_limit_are_refused_on_either_side(building: Building) -> None:
    hall, porch = await building.pair()

    async def flood(peer: PeerIdentity, body: bytes) -> bytes:
        return bytes(5000)

    hall.serve("flood", flood, limit=4000)
    hall.serve("small", echo, limit=4000)
    with pytest.raises(Refused) as error:
        await porch.call(hall.me.id, "flood", b"")
    assert error.value.code == "too-large"
    with pytest.raises(Unreachable):  # the caller does not know the limit: the request is dropped unread
        await porch.call(hall.me.id, "small", bytes(5000), timeout=2)
    with pytest.raises(Refused):
        await porch.call(hall.me.id, "any", bytes(wire.MAX_BODY + 1))
    assert hall.refused["request that is unsigned or too large"] == 1


async def test_a_node_that_is_not_there_is_unreachable_at_once(building: Building) -> None:
    hall = await building.start("hall")
    async with asyncio.timeout(2):
        with pytest.raises(Unreachable):
            await hall.call(building.identity("porch").node_id, "echo", b"", timeout=30)


async def test_an_answer_that_comes_too_late_is_unreachable(building: Building) -> None:
    hall, porch = await building.pair()
    release = asyncio.Event()

    async def slow(peer: PeerIdentity, body: bytes) -> bytes:
        await release.wait()
        return b""

    hall.serve("slow", slow)
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        await porch.call(hall.me.id, "slow", b"", timeout=0.3)
    release.set()


async def test_first_call_after_a_restart_of_the_addressee_succeeds(building: Building) -> None:
    hall, porch = await building.pair()
    old = porch.boot
    await building.stop("porch")
    again = building.mesh("porch", join=("hall",))
    assert again.boot > old
    again.serve("echo", echo)
    await building.start("porch", again)
    await met(hall, again)
    assert await hall.call(again.me.id, "echo", b"x") == b"hall:x"
    again.serve("echo2", echo)
    assert await hall.call(again.me.id, "echo2", b"x") == b"hall:x"


async def test_calls_at_once_are_limited_for_each_sender(building: Building) -> None:
    hall, porch = await building.pair()
    limited = await building.start("garage", join=("hall",), calls_at_once=6)
    await met(hall, porch, limited)
    release = asyncio.Event()
    running: list[str] = []

    async def wait(peer: PeerIdentity, body: bytes) -> bytes:
        running.append(peer.id)
        await release.wait()
        return b"done"

    limited.serve("wait", wait)
    flood = [asyncio.create_task(hall.call(limited.me.id, "wait", b"")) for _ in range(20)]
    await eventually(lambda: sum(t.done() for t in flood) >= 14)
    other = asyncio.create_task(porch.call(limited.me.id, "wait", b""))
    await eventually(lambda: porch.me.id in running)
    release.set()
    assert await other == b"done"
    ends = await asyncio.gather(*flood, return_exceptions=True)
    assert {e.code for e in ends if isinstance(e, Refused)} == {"busy"}
    assert 1 <= ends.count(b"done") <= 6


# Calls of another member ---------------------------------------------------------------------------------


async def test_a_forged_reply_of_another_member_does_not_count(building: Building) -> None:
    hall, porch = await building.pair()
    thief = building.identity("garage")

    async def slow_echo(peer: PeerIdentity, body: bytes) -> bytes:
        await asyncio.sleep(0.2)  # the forged reply is there first
        return b"true"

    hall.serve("ask", slow_echo)

    def forge(query: object) -> None:
        with query as q:  # type: ignore[attr-defined]
            asked = wire.decode(Request, wire.decode(Sealed, q.attachment.to_bytes()).content)
            reply = Reply(
                version=1,
                sender=asked.recipient,
                sender_boot=asked.recipient_boot,
                recipient=asked.sender,
                recipient_boot=asked.sender_boot,
                counter=asked.counter,
                status="ok",
                digest=wire.digest(b"forged"),
            )
            content = wire.encode(reply)
            sealed = Sealed(content, thief.sign(wire.REPLY + content), thief.cert_der)
            q.reply(q.key_expr, b"forged", attachment=wire.encode(sealed))

    async with building.raw_session(thief, "hall", "porch") as session:
        key = wire.Keys(thief.mesh_id).rpc(hall.me.id, "**")
        queryable = session.declare_queryable(key, quiet(forge))
        for _ in range(5):
            assert await porch.call(hall.me.id, "ask", b"") == b"true"
        await eventually(lambda: porch.refused.get("forged or damaged reply", 0) >= 1)
        await building.stop("hall")
        with pytest.raises(Unreachable):
            await porch.call(hall.me.id, "ask", b"", timeout=2)
        queryable.undeclare()


async def capture(building: Building, victim: str, session: object) -> list[tuple[str, bytes, bytes]]:
    """Requests to a node as another member sees them pass."""
    seen: list[tuple[str, bytes, bytes]] = []

    def take(query: object) -> None:
        with query as q:  # type: ignore[attr-defined]
            seen.append((str(q.key_expr), q.attachment.to_bytes(), q.payload.to_bytes()))

    key = wire.Keys(building.operator.mesh_id).rpc(victim, "**")
    seen_by = session.declare_queryable(key, quiet(take))  # type: ignore[attr-defined]
    building.kept = seen_by  # type: ignore[attr-defined]
    return seen


async def send(session: object, key: str, attachment: bytes, body: bytes) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    handler = zenoh.handlers.Callback(
        lambda reply: None, drop=lambda: loop.call_soon_threadsafe(ended.set), indirect=False
    )
    session.get(key, handler, payload=body, attachment=attachment, target=zenoh.QueryTarget.ALL, timeout=5)  # type: ignore[attr-defined]
    await ended.wait()


async def until_refused(
    mesh: Mesh, reason: str, times: int, session: object, key: str, attachment: bytes, body: bytes
) -> None:
    """Send it until it arrived: a bare session may be linked before it knows the routes."""
    async with asyncio.timeout(10):
        while mesh.refused.get(reason, 0) < times:
            await send(session, key, attachment, body)
            await asyncio.sleep(0.02)


async def test_a_captured_request_is_refused_repeated_moved_or_changed(building: Building) -> None:
    hall, porch = await building.pair()
    garage = await building.start("garage", join=("hall",))
    await met(hall, porch, garage)
    handled: list[bytes] = []

    async def note(peer: PeerIdentity, body: bytes) -> bytes:
        handled.append(body)
        return b"ok"

    for mesh in (hall, garage):
        mesh.serve("note", note)
        mesh.serve("other", note)
    keys = wire.Keys(building.operator.mesh_id)
    async with building.raw_session(building.identity("gpu"), "hall", "porch", "garage") as session:
        seen = await capture(building, hall.me.id, session)

        async def until_captured() -> None:
            while not any(b == b"first" for _, _, b in seen):
                await porch.call(hall.me.id, "note", b"first")

        await asyncio.wait_for(until_captured(), 10)
        key, attachment, body = next(s for s in seen if s[2] == b"first")
        before = len(handled)
        building.kept.undeclare()  # type: ignore[attr-defined]
        reason = "request that is forged, damaged or not for this node"
        await until_refused(hall, "request seen before", 1, session, key, attachment, body)
        await until_refused(garage, reason, 1, session, keys.rpc(garage.me.id, "note"), attachment, body)
        await until_refused(hall, reason, 1, session, keys.rpc(hall.me.id, "other"), attachment, body)
        await until_refused(hall, reason, 2, session, key, attachment, b"changed")
        await until_refused(hall, reason, 3, session, key, b"garbage", body)
        assert len(handled) == before
        # After a restart of the addressee its memory of counters is gone, but not the boot epoch it was signed for.
        await building.stop("hall")
        again = building.mesh("hall")
        again.serve("note", note)
        await building.start("hall", again)
        await met(again, porch, garage)
        await eventually(lambda: len(session.info.links()) >= 2)
        await send(session, key, attachment, body)
        assert len(handled) == before
        assert await porch.call(again.me.id, "note", b"fresh") == b"ok"


async def test_a_request_in_the_name_of_another_node_is_refused(building: Building) -> None:
    hall, porch = await building.pair()
    hall.serve("echo", echo)
    thief = building.identity("garage")
    request = Request(1, hall.me.id, hall.boot, porch.me.id, porch.boot, 10**6, "echo", wire.digest(b"x"))
    content = wire.encode(request)
    reason = "request that is forged, damaged or not for this node"
    async with building.raw_session(thief, "hall") as session:
        for number, certificate in enumerate((thief.cert_der, building.identity("porch").cert_der, b"")):
            sealed = Sealed(content, thief.sign(wire.REQUEST + content), certificate)
            key = wire.Keys(thief.mesh_id).rpc(hall.me.id, "echo")
            await until_refused(hall, reason, number + 1, session, key, wire.encode(sealed), b"x")
    assert await porch.call(hall.me.id, "echo", b"x") == b"porch:x"
