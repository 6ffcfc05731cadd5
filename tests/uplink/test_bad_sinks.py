"""Sinks that lie, stall and break: the alert stays until a real sink has it, and only the pinned sink gets the key."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from pathlib import Path

import msgspec
import pytest

from agent.errors import IdentityError, Refused, SinkError, Unreachable
from agent.model.alert import MAX_ALERT, Alert
from agent.uplink.address import parse_address
from agent.uplink.connect import SinkConfig, store_sink
from agent.uplink.https import HttpsClient
from agent.uplink.ledger import EgressLedger
from agent.uplink.outcome import Answer, Verdict, judge
from agent.uplink.uplink import TOGETHER
from cloud_sink.certificate import ensure_certificate
from tests.sink.running import Building, unsigned
from tests.support import eventually
from tests.uplink.helpers import KEY, answer, listener, running_uplink


def event_of(request: bytes) -> str:
    body = request.partition(b"\r\n\r\n")[2]
    return msgspec.msgpack.decode(body, type=Alert).event.id


def yes(request: bytes) -> bytes:
    """The answer of a good sink."""
    if request.startswith(b"POST /v1/alerts"):
        return answer(200, msgspec.json.encode({"id": event_of(request), "stored": True}))
    return answer(200, b'{"stored": true}')


class Held:
    """A sink that answers no alert before `go`; `asked` has the events that it was given."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def respond(self, _r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if request.startswith(b"POST /v1/alerts"):
            self.asked.append(event_of(request))
            await self.go.wait()
        writer.write(yes(request))


def connected(state: Path, address: str) -> None:
    store_sink(state / "sink.json", SinkConfig(address, KEY))


async def test_a_sink_with_another_certificate_gets_no_byte(tmp_path: Path) -> None:
    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(yes(request))

    building = Building()
    async with (
        listener(tmp_path / "tls", respond) as thief,
        running_uplink(tmp_path / "up", building) as (uplink, seen),
    ):
        wrong = f"https://127.0.0.1:{thief.port}#sha256={'ab' * 32}"
        with pytest.raises(SinkError) as refused:
            await uplink.connect(wrong, KEY)
        assert refused.value.code == "sink.pin"
        connected(tmp_path / "up2", wrong)
        async with running_uplink(tmp_path / "up2", building) as (other, _):
            await other.submit(unsigned(building.mesh, building.node, 1))
            await eventually(lambda: thief.connections >= 3)
            assert other.warnings()[0].code == "sink.denied"
            assert other.state()["waiting"] == 1
        assert thief.got == b""
        assert not seen.delivered


async def handshake_then_reset(listening: socket.socket, certificate: Path, key: Path) -> None:
    """Send the server's whole part of the handshake and reset the connection, before the client reads it."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    client, _ = await loop.sock_accept(listening)
    incoming.write(await loop.sock_recv(client, 1 << 16))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client.send(outgoing.read())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_a_wrong_pin_is_reported_when_the_server_resets(tmp_path: Path) -> None:
    certificate, key, _pin = ensure_certificate(tmp_path / "tls", ["127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        server = asyncio.create_task(handshake_then_reset(listening, certificate, key))
        async with running_uplink(tmp_path / "up", Building()) as (uplink, _):
            with pytest.raises(SinkError) as refused:
                await uplink.connect(f"https://127.0.0.1:{listening.getsockname()[1]}#sha256={'ab' * 32}", KEY)
        await server
    assert refused.value.code == "sink.pin"


async def test_a_refused_key_is_not_taken_for_a_wrong_pin(tmp_path: Path) -> None:
    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
        writer.write(answer(403, b'{"message": "the key is pinned to another mesh"}'))

    async with (
        listener(tmp_path / "tls", respond) as sink,
        running_uplink(tmp_path / "up", Building()) as (uplink, _),
    ):
        with pytest.raises(IdentityError) as refused:
            await uplink.connect(sink.address, KEY)
    assert refused.value.code == "sink.key"


async def cut_at_once(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.transport.abort()


async def half(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(yes(request)[:-9])
    await writer.drain()
    writer.close()


async def garbage(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(b"\x00\xff SSH-2.0 hello\r\n\r\n")
    await writer.drain()


async def failing(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(answer(500, b"Traceback"))


async def flood(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(answer(200, b"x" * 1_000_000))


async def another_alert(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(answer(200, b'{"id": "another", "stored": true}'))


async def polite_page(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(answer(200, b"<html>Welcome to the hotel</html>"))


async def moved(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, _q: bytes) -> None:
    writer.write(answer(302, b"", "location: https://example.org/"))


@pytest.mark.parametrize("misbehave", [cut_at_once, half, garbage, failing, flood, another_alert, polite_page, moved])
async def test_what_is_no_plain_yes_is_tried_again_until_it_is(tmp_path: Path, misbehave: object) -> None:
    """The first two answers are bad, the third is good: delivered once, never refused."""
    count = 0

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        nonlocal count
        if request.startswith(b"POST /v1/alerts"):
            count += 1
            if count <= 2:
                await misbehave(reader, writer, request)  # type: ignore[operator]
                return
        writer.write(yes(request))

    building = Building()
    async with listener(tmp_path / "tls", respond) as bad:
        connected(tmp_path / "up", bad.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            alert = unsigned(building.mesh, building.node, 1)
            await uplink.submit(alert)
            await eventually(lambda: seen.delivered == [alert.event.id])
            assert count == 3
            assert seen.refused == []
            assert len(uplink.ledger.of_event(alert.event.id)) >= 3


async def test_a_sink_that_never_answers_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def silent(_r: asyncio.StreamReader, _w: asyncio.StreamWriter, _q: bytes) -> None:
        await asyncio.Event().wait()

    async with listener(tmp_path / "tls", silent) as bad:
        ledger = EgressLedger(tmp_path / "egress.db")
        sender = HttpsClient(parse_address(bad.address), KEY, ledger, answer_timeout=0.2)
        outcome = await sender.send("alert", b"body", "id")
        assert outcome.verdict is Verdict.RETRY
        assert "in time" in outcome.reason
        await sender.aclose()
        ledger.close()


async def test_one_poisonous_alert_does_not_keep_the_others_back(tmp_path: Path) -> None:
    building = Building()
    poison = unsigned(building.mesh, building.node, "poison")

    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if request.startswith(b"POST /v1/alerts") and event_of(request) == poison.event.id:
            writer.transport.abort()
        else:
            writer.write(yes(request))

    async with listener(tmp_path / "tls", respond) as bad:
        connected(tmp_path / "up", bad.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            good = [unsigned(building.mesh, building.node, n) for n in range(5)]
            for alert in [poison, *good]:
                await uplink.submit(alert)
            await eventually(lambda: sorted(seen.delivered) == sorted(a.event.id for a in good))
            assert uplink.state()["waiting"] == 1


async def test_a_busy_sink_is_left_alone_as_long_as_it_asks(tmp_path: Path) -> None:
    times: list[float] = []

    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if not request.startswith(b"POST /v1/alerts"):
            writer.write(yes(request))
            return
        times.append(asyncio.get_running_loop().time())
        writer.write(answer(429, b"{}", "retry-after: 1") if len(times) == 1 else yes(request))

    building = Building()
    async with listener(tmp_path / "tls", respond) as busy:
        connected(tmp_path / "up", busy.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await uplink.submit(unsigned(building.mesh, building.node, 1))
            await eventually(lambda: len(seen.delivered) == 1)
    assert times[1] - times[0] >= 1.0


async def test_one_connection_serves_many_alerts_until_it_closes(tmp_path: Path) -> None:
    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(yes(request))

    async with listener(tmp_path / "tls", respond) as good:
        ledger = EgressLedger(tmp_path / "egress.db")
        sender = HttpsClient(parse_address(good.address), KEY, ledger)
        body = msgspec.msgpack.encode(unsigned("m", "n", 1))
        event = unsigned("m", "n", 1).event.id
        for _ in range(3):
            assert (await sender.send("alert", body, event)).verdict is Verdict.STORED
        assert good.connections == 1
        await sender.aclose()
        assert (await sender.send("alert", body, event)).verdict is Verdict.STORED
        assert good.connections == 2
        await sender.aclose()
        first, second = ledger.of_event(event)[:2]
        assert first.up > second.up, "the first one paid for the handshake"
        ledger.close()


async def test_a_connection_closed_while_idle_costs_no_failed_try(tmp_path: Path) -> None:
    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(yes(request))
        writer.close()

    async with listener(tmp_path / "tls", respond) as polite:
        ledger = EgressLedger(tmp_path / "egress.db")
        sender = HttpsClient(parse_address(polite.address), KEY, ledger)
        for n in range(3):
            alert = unsigned("m", "n", n)
            body = msgspec.msgpack.encode(alert)
            assert (await sender.send("alert", body, alert.event.id)).verdict is Verdict.STORED
            assert [r.result for r in ledger.of_event(alert.event.id)] == ["HTTP 200"]
            async with asyncio.timeout(10):
                for connection in sender._idle:
                    while not await connection.stale():
                        await asyncio.sleep(0.01)
        assert polite.connections == 3
        await sender.aclose()
        ledger.close()


async def test_a_full_spool_refuses_new_alerts_and_takes_known_ones(tmp_path: Path) -> None:
    building = Building()
    connected(tmp_path / "up", "https://127.0.0.1:9#sha256=" + "0" * 64)
    async with running_uplink(tmp_path / "up", building, spool=20_000) as (uplink, _):
        first = unsigned(building.mesh, building.node, 0)
        await uplink.submit(first)
        with pytest.raises(Refused) as refused:
            for n in range(1, 20):
                await uplink.submit(unsigned(building.mesh, building.node, n))
        assert refused.value.code == "uplink.full"
        await uplink.submit(first)


async def test_what_no_sink_would_take_is_refused_at_once(tmp_path: Path) -> None:
    building = Building()
    connected(tmp_path / "up", "https://127.0.0.1:9#sha256=" + "0" * 64)
    async with running_uplink(tmp_path / "up", building) as (uplink, _):
        with pytest.raises(Refused) as large:
            await uplink.submit(unsigned(building.mesh, building.node, 1, photo=b"x" * MAX_ALERT))
        assert large.value.code == "uplink.too-large"
        odd = unsigned(building.mesh, building.node, 1)
        odd.event.id = "../../etc/passwd"
        with pytest.raises(Refused) as malformed:
            await uplink.submit(odd)
        assert malformed.value.code == "uplink.malformed"
        with pytest.raises(Refused) as number:
            await uplink.submit(unsigned(building.mesh, building.node, 2, count=1 << 64))
        assert number.value.code == "uplink.malformed"


@pytest.mark.parametrize("body", [b'{"message": "\xff"}', b"[" * 20_000, b'{"id": ' + b"[" * 20_000, b"", b"[]"])
@pytest.mark.parametrize("status", [200, 401, 422, 500])
def test_binary_or_deeply_nested_answers_are_judged_like_others(status: int, body: bytes) -> None:
    assert judge(Answer(status, {}, body), "e").verdict is not Verdict.STORED


@pytest.mark.parametrize(
    ("said", "every"), [("240", 240), ("1", 60), ("0", 0), ("-5", 0), ('"x"', 0), ("null", 0), ("1e9", 0), ("[]", 0)]
)
def test_a_sink_may_ask_for_summaries_within_limits(said: str, every: float) -> None:
    outcome = judge(Answer(200, {}, f'{{"stored": true, "every": {said}}}'.encode()), "")
    assert (outcome.verdict, outcome.every) == (Verdict.STORED, every)


async def test_macs_leave_only_as_a_keyed_hash(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        sent.append(request)
        writer.write(yes(request))

    building = Building()
    async with listener(tmp_path / "tls", respond) as sink:
        connected(tmp_path / "up", sink.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            device = {"mac": "AA:BB:cc:00:11:22", "known": False}
            await uplink.submit(unsigned(building.mesh, building.node, 1, device=device, note="saw aa-bb-cc-00-11-22"))
            await eventually(lambda: len(seen.delivered) == 1)
            with pytest.raises(Refused) as refused:
                await uplink.submit(building.alert(2, device=device))
            assert refused.value.code == "uplink.mac"
    wire = b"".join(sent).lower()
    assert not re.search(rb"aa[:-]bb[:-]cc", wire)
    assert wire.count(b"dev-") == 2


async def test_nobody_there_is_said_plainly(tmp_path: Path) -> None:
    building = Building()
    async with running_uplink(tmp_path / "up", building) as (uplink, _):
        with pytest.raises(Unreachable) as e:
            await uplink.connect("https://127.0.0.1:9#sha256=" + "0" * 64, KEY)
        assert e.value.code == "sink.unreachable"
        assert "edge-sink serve" in e.value.hint


async def test_a_sink_that_works_is_given_four_alerts_at_a_time(tmp_path: Path) -> None:
    """None of the first four is answered before all four are there; the fifth has to wait for one of them."""
    building, held = Building(), Held()
    async with listener(tmp_path / "tls", held.respond) as slow:
        connected(tmp_path / "up", slow.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await eventually(lambda: uplink.connected)
            alerts = [unsigned(building.mesh, building.node, n) for n in range(5)]
            for alert in alerts:
                await uplink.submit(alert)
            await eventually(lambda: len(held.asked) == 4)
            assert set(uplink._flying) == set(held.asked)
            assert alerts[-1].event.id not in held.asked
            held.go.set()
            await eventually(lambda: len(seen.delivered) == 5)
            assert sorted(seen.delivered) == sorted(held.asked)
            assert slow.connections == 4


async def test_a_sink_that_turned_four_alerts_away_is_tried_with_one(tmp_path: Path) -> None:
    """The four count as one failure."""
    asked: list[str] = []
    together, go = asyncio.Barrier(4), asyncio.Event()

    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        if not request.startswith(b"POST /v1/alerts"):
            writer.write(yes(request))
            return
        asked.append(event_of(request))
        if len(asked) <= 4:
            await together.wait()
            writer.write(answer(429, b"{}", "retry-after: 1"))
        else:
            await go.wait()
            writer.write(yes(request))

    building = Building()
    async with listener(tmp_path / "tls", respond) as sink:
        connected(tmp_path / "up", sink.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await eventually(lambda: uplink.connected)
            for n in range(4):
                await uplink.submit(unsigned(building.mesh, building.node, n))
            await eventually(lambda: len(asked) == 4 and not uplink._flying)
            assert uplink._failures == 1
            await eventually(lambda: len(asked) == 5)
            assert set(uplink._flying) == {asked[4]}
            go.set()
            await eventually(lambda: len(seen.delivered) == 4)
            assert seen.refused == []


async def test_large_alerts_do_not_share_the_line(tmp_path: Path) -> None:
    building, held = Building(), Held()
    async with listener(tmp_path / "tls", held.respond) as slow:
        connected(tmp_path / "up", slow.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await eventually(lambda: uplink.connected)
            for n in range(3):
                await uplink.submit(unsigned(building.mesh, building.node, n, photo=bytes(TOGETHER // 2)))
            await eventually(lambda: len(held.asked) == 1)
            assert len(uplink._flying) == 1
            held.go.set()
            await eventually(lambda: len(seen.delivered) == 3)


async def test_a_new_sink_gets_at_once_what_the_old_left_unanswered(tmp_path: Path) -> None:
    building, silent = Building(), Held()

    async def respond(_r: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(yes(request))

    async with listener(tmp_path / "tls", silent.respond) as old, listener(tmp_path / "tls2", respond) as new:
        connected(tmp_path / "up", old.address)
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await eventually(lambda: uplink.connected)
            for n in range(4):
                await uplink.submit(unsigned(building.mesh, building.node, n))
            await eventually(lambda: len(silent.asked) == 4)
            await uplink.connect(new.address, KEY)
            await eventually(lambda: len(seen.delivered) == 4)
            assert uplink.connected
