"""The syslog receiver over real sockets, with friends, strangers and vandals."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time

import pytest

from agent.errors import ConfigError
from agent.sources import Batch, Decisions, Reception, SenderCount, SyslogSource, network
from agent.sources.syslog import streams
from agent.sources.syslog.allow_list import LOOPBACK, AllowList
from agent.sources.syslog.frames import GARBAGE
from agent.sources.syslog.inbox import MAX_MESSAGE
from agent.sources.syslog.senders import OTHERS, SenderBook
from tests.sources.support import Collector
from tests.support import eventually


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_only_this_host_may_send_unless_others_are_named() -> None:
    own = AllowList(LOOPBACK)
    assert all(own.allows(ip) for ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1"))
    assert not any(own.allows(ip) for ip in ("192.168.1.5", "fe80::1%eth0", "8.8.8.8", "nonsense", "::ffff:8.8.8.8"))
    named = AllowList(["192.168.1.0/24", "fe80::/10"])
    assert all(named.allows(ip) for ip in ("192.168.1.5", "::ffff:192.168.1.5", "fe80::1%eth0"))
    assert not any(named.allows(ip) for ip in ("192.168.2.1", "127.0.0.1"))


def test_the_smallest_network_decides_and_an_operator_before_it() -> None:
    decisions = Decisions()
    allow = AllowList(["192.168.1.0/24", "192.168.1.9"], decisions)
    decisions.decide(network("192.168.0.0/16"), False)
    assert [allow.allows(f"192.168.{ip}") for ip in ("1.5", "1.9", "2.1")] == [True, True, False]
    decisions.decide(network("192.168.1.9"), False)
    decisions.decide(network("192.168.2.1"), True)
    assert [allow.allows(f"192.168.{ip}") for ip in ("1.5", "1.9", "2.1", "2.2")] == [True, False, True, False]
    assert [allow.decided(f"192.168.{ip}") for ip in ("1.5", "1.9", "2.1", "2.2")] == [False, True, True, True]
    decisions.decide(network("192.168.1.9"), None)
    assert allow.allows("192.168.1.9")


async def udp(port: int, *messages: bytes, source: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for message in messages:
            sender.sendto(message, ("127.0.0.1", port))


async def tcp(port: int, *messages: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(messages))
    writer.close()


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://:0"])
async def test_udp_messages_become_lines(url: str) -> None:
    source = SyslogSource(url)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        await udp(source.port, b"<29>Mar  4 09:10:11 ap hostapd: one", b"<29>Mar  4 09:10:11 hostapd: two")
        await eventually(lambda: len(reader.lines) == 2)
    assert reader.lines == [b"Mar  4 09:10:11 ap hostapd: one", b"Mar  4 09:10:11 127.0.0.1 hostapd: two"]
    assert len(set(reader.origins)) == 2
    assert reader.position is None


async def test_each_line_has_the_address_it_came_from() -> None:
    source = SyslogSource("udp://127.0.0.1:0", allow=["127.0.0.0/8"])
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            await udp(source.port, b"<29>Mar  4 09:10:11 ap hostapd: " + address.encode(), source=address)
            await eventually(lambda: len(reader.lines) == sum(c.lines for c in source.senders()))
        await eventually(lambda: len(reader.lines) == 3)
    assert reader.senders == [line.rpartition(b" ")[2].decode() for line in reader.lines]
    counts = {c.address: (c.lines, c.bytes, c.sample[:4]) for c in source.senders()}
    size = len(reader.lines[0]) + 1
    assert counts == {"127.0.0.1": (2, 2 * size, "<29>"), "127.0.0.2": (1, size, "<29>")}


def test_pieces_of_a_batch_keep_their_senders() -> None:
    lines = [b"one\n", b"two\n", b"three\n", b"four\n"]
    batch = Batch("s", 0, b"".join(lines), None, senders=["a", "b", "c", "d"])
    pieces = list(batch.pieces(8))
    assert [[p.sender(n) for n in range(1, p.lines + 1)] for p in pieces] == [["a", "b"], ["c"], ["d"]]
    assert Batch("s", 0, b"one\n", None).sender(1) == ""
    with pytest.raises(IndexError):
        batch.sender(5)


def test_invented_addresses_push_out_no_allowed_sender() -> None:
    book = SenderBook()
    book.heard("192.0.2.1", allowed=True, now=1.0).lines = 7
    for n in range(OTHERS + 50):
        book.heard(f"198.51.100.{n}", allowed=False, now=2.0 + n)
    known = book.all()
    assert len(known) == OTHERS + 1
    assert known[-1] == SenderCount("192.0.2.1", lines=7, last=1.0)
    assert known[0].address == f"198.51.100.{OTHERS + 49}"


async def test_strangers_are_dropped_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    source = SyslogSource("udp://127.0.0.1:0", allow=["192.0.2.0/24"])
    with caplog.at_level(logging.WARNING):
        async with Collector(source) as reader:
            await eventually(lambda: source.port)
            await udp(source.port, *[b"<29>Mar  4 09:10:11 ap hostapd: one"] * 5)
            await eventually(lambda: source.counters.dropped == {"not allowed": 5})
    assert reader.lines == []
    assert len(caplog.records) == 1


async def test_a_flood_is_held_to_its_rate_and_long_messages_are_cut() -> None:
    source = SyslogSource("udp://127.0.0.1:0", rate=1)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        await udp(source.port, b"x" * 60_000, *[b"line"] * 30)
        await eventually(lambda: len(reader.lines) + source.counters.dropped.get("rate", 0) == 31)
    assert 10 <= len(reader.lines) < 20
    assert source.counters.cut == 1
    assert len(reader.lines[0]) < MAX_MESSAGE + 100


async def test_waiting_lines_are_bounded_while_the_reader_stalls() -> None:
    source = SyslogSource("udp://127.0.0.1:0", rate=1e9)
    batches = source.batches(None)
    reading = asyncio.ensure_future(anext(batches))
    await eventually(lambda: source.port)
    for _ in range(600):
        source._inbox.offer(b"x" * 10_000, "127.0.0.1")
    assert source.counters.dropped["full"] > 0
    assert source._inbox._bytes < 5 * 1024 * 1024
    batch = await reading
    assert 0 < len(batch.data) <= 1024 * 1024
    await batches.aclose()  # type: ignore[attr-defined]


async def test_a_reset_connection_loses_no_message_before_it() -> None:
    source = SyslogSource("tcp://127.0.0.1:0", rate=5.0)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        with socket.create_connection(("127.0.0.1", source.port)) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sender.sendall(b"".join(b"<29>ap: %d\n" % n for n in range(51)) + b"<29>ap: last")
            await asyncio.sleep(0.05)
        await eventually(lambda: len(reader.lines) == 52)
    assert reader.lines[-1].endswith(b"ap: last")


async def test_a_silent_connection_loses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "IDLE", 0.05)
    source = SyslogSource("tcp://127.0.0.1:0")
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        with socket.create_connection(("127.0.0.1", source.port)) as sender:
            sender.sendall(b"<29>ap: no end of line")
            await eventually(lambda: len(reader.lines) == 1)
    assert reader.lines[0].endswith(b"ap: no end of line")


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://:0"])
async def test_tcp_senders_may_count_or_end_their_lines(url: str) -> None:
    source = SyslogSource(url)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        first = b"<29>Mar  4 09:10:11 ap hostapd: counted"
        writer.write(b"%d %s" % (len(first), first) + b"<29>Mar  4 09:10:11 ap hostapd: ended\n")
        await eventually(lambda: len(reader.lines) == 2)
        writer.write(b"<29>Mar  4 09:10:11 ap hostapd: last")
        writer.close()
        await eventually(lambda: len(reader.lines) == 3)
    assert [line.rpartition(b" ")[2] for line in reader.lines] == [b"counted", b"ended", b"last"]
    assert set(reader.senders) == {"127.0.0.1"}


async def test_a_stream_that_is_not_syslog_is_closed_and_others_go_on() -> None:
    source = SyslogSource("tcp://127.0.0.1:0", connections=3)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        vandal, vandal_writer = await asyncio.open_connection("127.0.0.1", source.port)
        vandal_writer.write(b"<29>Mar  4 09:10:11 ap hostapd: before\n" + b"x" * (GARBAGE + 100_000))
        assert await read_end(vandal)
        assert source.counters.dropped == {"malformed": 1}
        friends = [await asyncio.open_connection("127.0.0.1", source.port) for _ in range(3)]
        for _, writer in friends:
            writer.write(b"<29>Mar  4 09:10:11 ap hostapd: hello\n")
        await eventually(lambda: sum(line.endswith(b"hello") for line in reader.lines) == 3)
        one_more, one_more_writer = await asyncio.open_connection("127.0.0.1", source.port)
        assert await read_end(one_more)
        assert source.counters.dropped["connections"] == 1
        for writer in (vandal_writer, one_more_writer, *(w for _, w in friends)):
            writer.close()
    assert reader.lines[0].endswith(b"before")
    assert {c.address: c.dropped for c in source.senders()} == {"127.0.0.1": {"malformed": 1, "connections": 1}}


async def test_a_bad_frame_keeps_its_connection_and_other_messages() -> None:
    source = SyslogSource("tcp://127.0.0.1:0")
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        _, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(b"8 <13>a: 1" + b"99999999999 <13>a: 2\n" + b"500 <13>a: 3\n<13>a: 4\n")
        await eventually(lambda: len(reader.lines) == 4)
        writer.write(b"<13>a: 5\x00<13>a: 6\x00")
        await eventually(lambda: len(reader.lines) == 6)
        writer.close()
    assert [line[-1:] for line in reader.lines] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert source.counters.dropped == {"malformed": 2}


async def test_a_relay_may_open_a_connection_for_each_message() -> None:
    source = SyslogSource("tcp://127.0.0.1:0")
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        opened = [await asyncio.open_connection("127.0.0.1", source.port) for _ in range(100)]
        for n, (_, writer) in enumerate(opened):
            writer.write(b"<29>Mar  4 09:10:11 ap hostapd: %d" % n)
            writer.close()
        await eventually(lambda: len(reader.lines) == 100)
    assert source.counters.dropped == {}


async def test_a_message_of_an_unknown_sender_is_shown_but_not_read() -> None:
    decisions = Decisions()
    decisions.decide(network("127.0.0.0/8"), False)
    for scheme, send in (("udp", udp), ("tcp", tcp)):
        source = SyslogSource(f"{scheme}://127.0.0.1:0", reception=Reception(decisions))
        async with Collector(source) as reader:
            await eventually(lambda s=source: s.port)
            await send(source.port, b"<29>Mar  4 09:10:11 ap hostapd: \x1bhello\n")
            await eventually(lambda s=source: s.counters.dropped == {"not allowed": 1})
            (count,) = source.senders()
            assert (count.address, count.allowed, count.lines, count.dropped) == (
                "127.0.0.1",
                False,
                0,
                {"not allowed": 1},
            )
            assert count.sample == "<29>Mar  4 09:10:11 ap hostapd:  hello"
            decisions.decide(network("127.0.0.1"), True)
            assert source.senders()[0].allowed
            await send(source.port, b"<29>Mar  4 09:10:11 ap hostapd: again\n")
            await eventually(lambda r=reader: len(r.lines) == 1)
            decisions.decide(network("127.0.0.1"), None)
        assert reader.lines[0].endswith(b"again")


async def test_connections_of_an_unknown_sender_are_few_and_short() -> None:
    source = SyslogSource("tcp://127.0.0.1:0", allow=["192.0.2.0/24"])
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        opened = [await asyncio.open_connection("127.0.0.1", source.port) for _ in range(30)]
        await eventually(lambda: source.counters.dropped.get("not allowed", 0) >= 27)  # the others may say something
        for _, writer in opened:
            writer.write(b"<13>a: b\n")
        assert all([await read_end(answer) for answer, _ in opened])
        for _, writer in opened:
            writer.close()
    assert (reader.lines, source.counters.dropped) == ([], {"not allowed": 30})


async def test_a_datagram_may_carry_several_messages() -> None:
    source = SyslogSource("udp://127.0.0.1:0")
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        await udp(source.port, b"<13>a: 1\n<13>a: 2\x00<13>a: 3", b"\n")
        await eventually(lambda: len(reader.lines) == 3 and source.counters.dropped == {"empty": 1})
    assert [line[-1:] for line in reader.lines] == [b"1", b"2", b"3"]


async def test_a_connection_ends_when_its_sender_is_denied() -> None:
    decisions = Decisions()
    source = SyslogSource("tcp://127.0.0.1:0", reception=Reception(decisions))
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        answer, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(b"<13>a: 1\n")
        await eventually(lambda: len(reader.lines) == 1)
        decisions.decide(network("127.0.0.1"), False)
        writer.write(b"<13>a: 2\n")
        assert await read_end(answer)
        writer.close()
    assert (len(reader.lines), source.counters.dropped) == (1, {"not allowed": 1})


async def read_end(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


async def test_a_fast_tcp_sender_is_made_to_wait_and_loses_nothing() -> None:
    source = SyslogSource("tcp://127.0.0.1:0", rate=1e6)
    sent = [b"Mar  4 09:10:11 ap hostapd: %06d %s" % (n, b"x" * 1000) for n in range(8000)]
    batches = source.batches(None)
    first = asyncio.ensure_future(anext(batches))
    await eventually(lambda: source.port)
    _, writer = await asyncio.open_connection("127.0.0.1", source.port)

    async def send() -> None:
        writer.write(b"".join(line + b"\n" for line in sent))
        await writer.drain()

    sending = asyncio.create_task(send())
    got = (await first).data.splitlines()
    while len(got) < len(sent):
        got += (await anext(batches)).data.splitlines()
    await sending
    writer.close()
    await batches.aclose()  # type: ignore[attr-defined]
    assert got == sent
    assert source.counters.dropped == {}


async def test_a_port_that_is_taken_is_an_error_with_a_hint() -> None:
    for kind, scheme in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")):
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind(("127.0.0.1", 0))
            if scheme == "tcp":
                other.listen()
            source = SyslogSource(f"{scheme}://127.0.0.1:{other.getsockname()[1]}")
            with pytest.raises(ConfigError) as caught:
                await anext(source.batches(None))
            assert caught.value.hint
