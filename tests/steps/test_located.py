"""Where a filter's events come from: found in one pass over the batch, and never in lines that are not there."""

from __future__ import annotations

import pytest

from agent.errors import StepFailed
from agent.executors.wasm.filter import EXACT, PART, line_numbers, parse_events
from agent.model.task import LineEvent
from agent.sources import Batch
from agent.steps.tail_runner import located

LINE = b"x" * 99 + b"\n"


def batch(lines: int) -> Batch:
    return Batch("stream", 1000, LINE * lines, None)


def test_events_get_the_place_of_their_line_in_any_order() -> None:
    events = [LineEvent(700, "b"), LineEvent(3, "a"), LineEvent(700, "c")]
    found = list(located(events, batch(1000)))
    assert [(f.event.type, f.origin) for f in found] == [
        ("a", ("stream", 1200)), ("b", ("stream", 70_900)), ("c", ("stream", 70_900)),
    ]  # fmt: skip
    assert {f.text for f in found} == {LINE[:-1]}


@pytest.mark.parametrize("lines", [2, EXACT // len(LINE) + 5])
def test_an_event_of_a_missing_line_fails_the_batch(lines: int) -> None:
    data = LINE * lines
    out = b'{"line":%d,"type":"a","data":{}}\n' % (lines + 1)
    with pytest.raises(StepFailed, match=f"names line {lines + 1} of"):
        located(parse_events(out, data), batch(lines))


def test_a_lines_start_is_believed_where_a_line_starts() -> None:
    out = b'{"line":3,"at":200,"type":"a","data":{}}\n'
    (found,) = located(parse_events(out, LINE * 5), batch(5))
    assert (found.origin, found.text) == (("stream", 1200), LINE[:-1])
    for at in (b"201", b"500", b"-2", b"9" * 30):
        with pytest.raises(StepFailed):
            parse_events(out.replace(b"200", at), LINE * 5)


def test_a_place_without_a_number_finds_line_sender_and_origin() -> None:
    out = b'{"at":300,"type":"b"}\n{"at":0,"type":"a"}\n{"line":4,"type":"c"}\n{"at":100,"type":"d"}\n'
    made = Batch("s", 0, LINE * 5, None, origins=list("vwxyz"), senders=["1", "2", "3", "4", "5"])
    found = located(parse_events(out, LINE * 5), made)
    assert [(f.event.type, f.origin[0], f.sender) for f in found] == [
        ("a", "v", "1"), ("d", "w", "2"), ("b", "y", "4"), ("c", "y", "4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "event", [b'{"type":"a"}', b'{"line":0,"type":"a"}', b'{"line":-1,"at":100,"type":"a"}', b'{"at":101,"type":"a"}']
)
def test_an_event_needs_a_line_or_the_place_of_one(event: bytes) -> None:
    with pytest.raises(StepFailed, match=r"neither its line|lines count from 1|where no line starts"):
        parse_events(event + b"\n", LINE * 5)


def test_events_without_numbers_get_those_of_their_places() -> None:
    events = [LineEvent(type="a", at=200), LineEvent(7, "b"), LineEvent(type="c", at=0), LineEvent(type="d", at=400)]
    assert line_numbers(events, LINE * 5) == [3, 7, 1, 5]


@pytest.mark.parametrize("turned", [False, True])
def test_many_events_are_found_as_few_are(turned: bool) -> None:
    lines = 3 * PART // 40
    out = [b'{"at":%d,"type":"t.n","data":{"n":%d}}\n' % (100 * n, n) for n in range(lines)]
    found = list(located(parse_events(b"".join(out[::-1] if turned else out), LINE * lines), batch(lines)))
    assert [(f.event.data["n"], f.origin[1]) for f in found] == [(n, 1000 + 100 * n) for n in range(lines)]


def test_one_bad_event_among_many_fails_them_all() -> None:
    lines = 3 * PART // 40
    out = b"".join(b'{"at":%d,"type":"t.n"}\n' % (100 * n) for n in range(lines)) + b'{"at":1,"type":"t.n"}\n'
    with pytest.raises(StepFailed, match="where no line starts"):
        parse_events(out, LINE * lines)


def test_many_events_with_a_line_that_is_missing_fail_at_once() -> None:
    lines = EXACT // len(LINE) + 5
    out = b'{"at":0,"type":"t.n"}\n' * (2 * PART // 20) + b'{"line":%d,"type":"t.n"}\n' % (lines + 1)
    with pytest.raises(StepFailed, match=f"names line {lines + 1} of"):
        located(parse_events(out, LINE * lines), batch(lines))
