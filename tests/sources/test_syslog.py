"""The syslog receiver over real sockets, with friends, strangers and vandals."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.sources import Batch, SenderCount, SyslogSource
from agent.sources.syslog.allow_list import LOCAL, AllowList
from agent.sources.syslog.frames import BadFrame, Framer
from agent.sources.syslog.messages import to_line
from agent.sources.syslog.senders import OTHERS, SenderBook
from agent.sources.syslog.source import CONNECTIONS_EACH, MAX_MESSAGE
from tests.sources.support import Collector
from tests.support import eventually

NOW = 1_772_561_000.0


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<29>Mar  4 09:10:11 hostapd: phy0-ap0: AP-STA-CONNECTED da:5f:77:12:90:ee",
         b"Mar  4 09:10:11 192.0.2.7 hostapd: phy0-ap0: AP-STA-CONNECTED da:5f:77:12:90:ee"),
        (b"<29>Mar  4 09:10:11 attic-ap hostapd[13]: up\r\n", b"Mar  4 09:10:11 attic-ap hostapd[13]: up"),
        (b"<30>Aug 20 09:11:17 U7-Pro 9241b2000001,U7-Pro-8.7.11+19419: hostapd[1]: wifi1ap4: x",
         b"Aug 20 09:11:17 U7-Pro 9241b2000001,U7-Pro-8.7.11+19419: hostapd[1]: wifi1ap4: x"),
        (b"Mar  4 09:12:18 attic-ap hostapd: without a priority", b"Mar  4 09:12:18 attic-ap hostapd: without a priority"),
        (b"<29>Wed Mar  4 07:22:10 2026 daemon.notice hostapd: phy1-ap0: x",
         b"Wed Mar  4 07:22:10 2026 daemon.notice hostapd: phy1-ap0: x"),
        (b"<29>hostapd: no time\x00", b"Mar  3 18:03:20 192.0.2.7 hostapd: no time"),
        (b"<165>1 2026-03-03T18:00:00.003Z ap hostapd 8710 ID47 - wlan0: AP-STA-CONNECTED",
         b"Mar  3 18:00:00 ap hostapd[8710]: wlan0: AP-STA-CONNECTED"),
        (b'<165>1 2026-03-03T19:00:00+01:00 - - - - [a@1 k="]\\"x"][b] \xef\xbb\xbf\xc3\xa9',
         b"Mar  3 18:00:00 192.0.2.7 unknown: \xc3\xa9"),
        (b"<165>1 - ap app - - -", b"Mar  3 18:03:20 ap app: "),
        (b"two\nlines", b"Mar  3 18:03:20 192.0.2.7 two#012lines"),
        (b"<13>", b""),
        (b"\n", b""),
    ],
)  # fmt: skip
def test_a_message_becomes_a_line_of_a_syslog_file(message: bytes, line: bytes) -> None:
    assert to_line(message, "192.0.2.7", NOW) == line


def test_lines_of_access_points_keep_the_fields_of_the_filter() -> None:
    shapes = Path(__file__).parents[2] / "tests" / "filters" / "lines.jsonl"
    for raw in shapes.read_text().splitlines():
        case = json.loads(raw)
        if case["event"]:
            tail = case["line"].split(": ", 1)[1].rstrip()
            assert tail in to_line(case["line"].encode(), "192.0.2.7", NOW).decode()


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b"<13>1 2026-03-03T18:00:00Z h a p m [x " + b))
def test_any_bytes_become_at_most_one_line(message: bytes) -> None:
    assert b"\n" not in to_line(message, "192.0.2.7", NOW)


messages = st.lists(st.binary(min_size=1, max_size=30), max_size=10)


@given(messages, st.lists(st.integers(1, 40)))
def test_counted_messages_come_whole_however_the_stream_is_cut(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(b"%d %s" % (len(m), m) for m in sent)
    assert feed(stream, cuts, 100) == sent


lines = st.lists(
    st.binary(min_size=1, max_size=30).map(lambda b: b.replace(b"\n", b".")).filter(lambda b: not 0x31 <= b[0] <= 0x39)
)


@given(lines, st.lists(st.integers(1, 40)))
def test_lines_come_whole_however_the_stream_is_cut(sent: list[bytes], cuts: list[int]) -> None:
    assert feed(b"".join(m + b"\n" for m in sent), cuts, 100) == sent


def feed(stream: bytes, cuts: list[int], limit: int) -> list[bytes]:
    framer, got = Framer(limit), []
    for size in cuts:
        got += framer.feed(stream[:size])
        stream = stream[size:]
    return got + framer.feed(stream)


@given(st.lists(st.binary(max_size=50)))
def test_a_stream_of_anything_is_bounded(blocks: list[bytes]) -> None:
    framer = Framer(20)
    try:
        for block in blocks:
            assert all(len(m) <= 20 for m in framer.feed(block))
            assert len(framer._buffer) <= 20 + 8
    except BadFrame:
        pass


def test_messages_above_the_limit_are_cut_and_others_stay_whole() -> None:
    framer = Framer(10)
    assert framer.feed(b"25 " + b"x" * 25 + b"5 abcde" + b"y" * 50) == [b"x" * 10, b"abcde", b"y" * 10]
    assert framer.feed(b"yyy\nnext\n") == [b"next"]
    assert framer.cut == 2


def test_private_networks_may_send_unless_others_are_named() -> None:
    local = AllowList(LOCAL)
    assert all(local.allows(ip) for ip in ("192.168.1.5", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:192.168.1.5"))
    assert not any(local.allows(ip) for ip in ("8.8.8.8", "2001:db8::1", "nonsense", "::ffff:8.8.8.8"))
    assert not AllowList(["192.168.1.0/24"]).allows("192.168.2.1")


def udp(port: int, *messages: bytes, source: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        for message in messages:
            sender.sendto(message, ("127.0.0.1", port))


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://:0"])
async def test_udp_messages_become_lines(url: str) -> None:
    source = SyslogSource(url)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        udp(source.port, b"<29>Mar  4 09:10:11 ap hostapd: one", b"<29>Mar  4 09:10:11 hostapd: two")
        await eventually(lambda: len(reader.lines) == 2)
    assert reader.lines == [b"Mar  4 09:10:11 ap hostapd: one", b"Mar  4 09:10:11 127.0.0.1 hostapd: two"]
    assert len(set(reader.origins)) == 2
    assert reader.position is None


async def test_each_line_has_the_address_it_came_from() -> None:
    source = SyslogSource("udp://127.0.0.1:0", allow=["127.0.0.0/8"])
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            udp(source.port, b"<29>Mar  4 09:10:11 ap hostapd: " + address.encode(), source=address)
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
            udp(source.port, *[b"<29>Mar  4 09:10:11 ap hostapd: one"] * 5)
            await eventually(lambda: source.counters.dropped == {"not allowed": 5})
    assert reader.lines == []
    assert len(caplog.records) == 1


async def test_a_flood_is_held_to_its_rate_and_long_messages_are_cut() -> None:
    source = SyslogSource("udp://127.0.0.1:0", rate=1)
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        udp(source.port, b"x" * 60_000, *[b"line"] * 30)
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
        source.datagram(b"x" * 10_000, "127.0.0.1")
    assert source.counters.dropped["full"] > 0
    assert source._bytes < 5 * 1024 * 1024
    batch = await reading
    assert 0 < len(batch.data) <= 1024 * 1024
    await batches.aclose()  # type: ignore[attr-defined]


async def test_tcp_senders_may_count_or_end_their_lines() -> None:
    source = SyslogSource("tcp://127.0.0.1:0")
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


async def test_vandals_on_tcp_are_cut_off_and_others_go_on() -> None:
    source = SyslogSource("tcp://127.0.0.1:0")
    async with Collector(source) as reader:
        await eventually(lambda: source.port)
        vandal, vandal_writer = await asyncio.open_connection("127.0.0.1", source.port)
        vandal_writer.write(b"99999999999 ")
        await eventually(lambda: source.counters.dropped == {"malformed": 1})
        assert await read_end(vandal)
        friends = [await asyncio.open_connection("127.0.0.1", source.port) for _ in range(CONNECTIONS_EACH)]
        for _, writer in friends:
            writer.write(b"<29>Mar  4 09:10:11 ap hostapd: hello\n")
        await eventually(lambda: len(reader.lines) == CONNECTIONS_EACH)
        one_more, one_more_writer = await asyncio.open_connection("127.0.0.1", source.port)
        assert await read_end(one_more)
        assert source.counters.dropped["connections"] == 1
        for writer in (vandal_writer, one_more_writer, *(w for _, w in friends)):
            writer.close()
    assert source._writers == set()


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
