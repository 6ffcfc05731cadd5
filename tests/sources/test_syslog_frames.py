"""Messages on a TCP stream, in good and in bad frames."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent.sources.syslog.frames import GARBAGE, Framer

LIMIT = 100
BOM = b"\xef\xbb\xbf"


def frames(stream: bytes, cuts: list[int], limit: int = LIMIT) -> tuple[list[bytes], int, int]:
    """The messages of a stream that comes in blocks of these sizes, the number of cut messages and of bad frames."""
    framer, got = Framer(limit), []
    for size in cuts:
        got += framer.feed(stream[:size])
        stream = stream[size:]
    got += framer.feed(stream) + framer.rest()
    return got, framer.cut, framer.malformed


def counted(*messages: bytes) -> bytes:
    return b"".join(b"%d %s" % (len(m), m) for m in messages)


cuts = st.lists(st.integers(1, 40), max_size=20)
text = st.binary(min_size=1, max_size=30).filter(lambda b: not set(b) & set(b"\r\n\0"))
message = text.map(lambda b: b"<13>" + b).filter(lambda m: b"<" not in m[1:])
part = st.sampled_from(
    [
        b"\n",
        b"\0",
        b"\r",
        b"<13>",
        b"<",
        b"5",
        b"12 ",
        b"3 ",
        b" ",
        b"50 <13>",
        BOM,
        b"abc",
        b"4 Mar 2026 ",
        b"x" * 9,
        b"7 <1>ab",
    ]
)


@given(st.lists(message, max_size=10), cuts)
def test_counted_messages_come_whole_however_cut(sent: list[bytes], at: list[int]) -> None:
    assert frames(counted(*sent), at) == (sent, 0, 0)


@given(st.lists(message, max_size=10), st.sampled_from([b"\n", b"\0", b"\r\n", b"\n\0"]), cuts)
def test_lines_come_whole_however_cut(sent: list[bytes], end: bytes, at: list[int]) -> None:
    assert [m.rstrip(b"\r") for m in frames(b"".join(m + end for m in sent), at)[0]] == sent


@given(st.lists(part, max_size=40).map(b"".join), cuts, st.sampled_from([10, 20, 60]))
def test_any_cut_of_any_bytes_gives_the_same_messages(stream: bytes, at: list[int], limit: int) -> None:
    whole = frames(stream, [], limit)
    assert frames(stream, at, limit) == whole
    assert frames(stream, [1] * len(stream), limit) == whole


@example(before=[b"<13>1 "], bad=b"\x01", after=[b"<13>\x01"], at=[])
@given(st.lists(message, min_size=1, max_size=5), text, st.lists(message, min_size=1, max_size=5), cuts)
def test_garbage_loses_no_message_around_it(before: list[bytes], bad: bytes, after: list[bytes], at: list[int]) -> None:
    bad = b"?" + bad.translate(None, b"<")
    got, _, malformed = frames(counted(*before) + bad + b"\n" + counted(*after), at, 1000)
    assert [m for m in got if m.startswith(b"<13>")] == before + after
    assert malformed == 1
    lines = b"".join(m + b"\n" for m in before) + bad + b"\n" + b"".join(m + b"\n" for m in after)
    assert [m for m in frames(lines, at, 1000)[0] if m.startswith(b"<13>")] == before + after


@given(st.lists(message, max_size=4), message, st.integers(1, 500), st.lists(message, min_size=1, max_size=5), cuts)
def test_a_count_too_large_swallows_no_message(
    before: list[bytes], bad: bytes, more: int, after: list[bytes], at: list[int]
) -> None:
    lines = b"".join(m + b"\n" for m in [bad, *after])
    count = len(bad) + more
    assume(
        b"\n" not in lines[count - 1 : count + 1] or count > len(lines)
    )  # else it ends where a message ends: it looks right
    got, _, malformed = frames(counted(*before) + b"%d " % count + lines, at, 1000)
    assert (got, malformed) == ([*before, bad, *after], 1)


def test_a_count_too_small_loses_the_end_of_its_message_only() -> None:
    stream = counted(b"<13>one") + b"6 <13>two and more" + counted(b"<13>three")
    assert frames(stream, []) == ([b"<13>one", b"<13>tw", b"<13>three"], 0, 1)
    assert frames(stream.replace(b"more", b"more\n"), [])[0] == [b"<13>one", b"<13>tw", b"o and more", b"<13>three"]


def test_a_right_count_keeps_a_message_that_quotes_another_one() -> None:
    quoting = b"<13>the log says:\n<29>hostapd: wlan0: AP-STA-CONNECTED"
    assert frames(counted(quoting, b"<13>next"), []) == ([quoting, b"<13>next"], 0, 0)
    framer = Framer(LIMIT)
    assert framer.feed(counted(quoting)) == []
    assert framer.unsure
    assert framer.settle() == [quoting]


def test_a_message_that_waits_for_its_count_comes_after_a_pause() -> None:
    framer = Framer(LIMIT)
    assert framer.feed(b"90 <13>one\n") == []
    assert framer.unsure
    assert framer.settle() == [b"<13>one"]
    assert framer.feed(b"<13>two\n") == [b"<13>two"]
    assert (framer.feed(b"10 <13>un"), framer.unsure) == ([], False)
    assert framer.feed(b"sure") == [b"<13>unsure"]


@pytest.mark.parametrize(
    ("stream", "messages", "malformed"),
    [
        (b"99999999999 <13>one\n<13>two\n", [b"<13>one", b"<13>two"], 1),
        (b"<13>one\n99999999999 <13>two\n<13>three\n", [b"<13>one", b"<13>two", b"<13>three"], 1),
        (b"0 <13>one\n<13>two\n", [b"<13>one", b"<13>two"], 1),
        (counted(b"<13>one", b"<13>two\n") + b"\n", [b"<13>one", b"<13>two\n"], 0),
        (b"\x16\x03\x01\x02" + counted(b"<13>one", b"<13>two"), [b"<13>one", b"<13>two"], 1),
        (counted(b"Mar  4 09:10:11 ap a: b", b"<13>x"), [b"Mar  4 09:10:11 ap a: b", b"<13>x"], 0),
        (b"4 Mar 2026 09:10:11 ap a: b\n14 M\xc3\xa4r 09:10:11 c\n", [b"4 Mar 2026 09:10:11 ap a: b", b"14 M\xc3\xa4r 09:10:11 c"], 0),
        (b"2026-03-04T09:10:11Z ap a: b\n", [b"2026-03-04T09:10:11Z ap a: b"], 0),
        (b"45: Mar  4 09:10:11 ap a: b\n000046: c\n", [b"45: Mar  4 09:10:11 ap a: b", b"000046: c"], 0),
        (b"12 monkeys\n<13>two\n", [b"12 monkeys", b"<13>two"], 0),
        (counted(BOM + b"<13>one") + BOM + b"<13>two\n", [BOM + b"<13>one", BOM + b"<13>two"], 0),
        (b"<13>last", [b"<13>last"], 0),
        (b"51 <13>last", [b"<13>last"], 1),
        (b"51", [], 1),
    ],
)  # fmt: skip
def test_frames_as_devices_send_them(stream: bytes, messages: list[bytes], malformed: int) -> None:
    assert frames(stream, []) == (messages, 0, malformed)


def test_messages_above_the_limit_are_cut_and_others_stay_whole() -> None:
    framer = Framer(10)
    assert framer.feed(b"25 " + b"x" * 25 + b"5 abcde" + b"y" * 50) == [b"x" * 10, b"abcde", b"y" * 10]
    assert framer.feed(b"yyy\nnext\n") == [b"next"]
    assert framer.cut == 2


def test_a_large_count_that_is_wrong_swallows_no_messages() -> None:
    stream = b"9000000 <13>" + b"x" * 150 + b"\n<13>one\n<13>two\n"
    assert frames(stream, [])[0] == [b"<13>" + b"x" * 96, b"<13>one", b"<13>two"]
    assert frames(stream, [7] * 30)[0] == [b"<13>" + b"x" * 96, b"<13>one", b"<13>two"]


@given(st.lists(st.binary(max_size=50)))
def test_a_stream_of_anything_is_bounded(blocks: list[bytes]) -> None:
    framer = Framer(20)
    for block in blocks:
        assert all(len(m) <= 20 for m in framer.feed(block))
        assert len(framer._buffer) <= 20 + 50


def test_a_stream_without_any_message_is_given_up() -> None:
    framer = Framer(LIMIT)
    assert framer.feed(b"<13>one\n") == [b"<13>one"]
    while not framer.lost:
        framer.feed(b"x" * 1000)
        assert framer._garbage <= GARBAGE + 1000
