"""The lines of the step contract: events for a program and its answers, for any input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import StepFailed
from agent.executors.contract import EXCERPT, MAX_REPLY_EVENTS, encode_event, excerpt, file_names, parse_answer
from agent.executors.wasm.filter import parse_events
from agent.model.event import MAX_BLOBS, MAX_DEPTH, MAX_EVENT, BlobRef, Event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def line(**answer: Any) -> bytes:
    return json.dumps({"id": "e1", **answer}).encode()


@given(st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_answer_or_a_clear_failure(raw: bytes) -> None:
    try:
        parse_answer(raw, "e1")
    except StepFailed as e:
        assert e.message  # noqa: PT017
        assert e.code.startswith("step.")  # noqa: PT017


@given(st.dictionaries(st.text().filter(lambda k: k != "blobs"), JSON, max_size=5))
def test_data_comes_through_as_it_is(data: dict[str, Any]) -> None:
    (event,) = parse_answer(line(events=[{"type": "t.x", "data": data}]), "e1")
    assert event.data == data
    assert event.blobs == []


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({}, "neither"),
        ({"events": [{"data": {}}]}, "missing required field `type`"),
        ({"events": [{"type": "", "data": {}}]}, "has the type ''"),
        ({"events": [{"type": "a b"}]}, "has the type 'a b'"),
        ({"events": [{"type": "t", "data": []}]}, "Expected `object`"),
        ({"events": [{"type": "t"}] * (MAX_REPLY_EVENTS + 1)}, "more than 256"),
        ({"events": [{"type": "t", "data": {"blobs": [{}] * (MAX_BLOBS + 1)}}]}, "names 33 blobs"),
        ({"events": [{"type": "t", "data": {"blobs": "x"}}]}, "data.blobs"),
        ({"events": [{"type": "t", "data": {"blobs": [{"name": "x", "type": "text"}]}}]}, "is not a media type"),
        ({"events": [{"type": "t", "data": {"blobs": [{"name": "a\nb"}]}}]}, "is not a blob's name"),
        ({"events": [{"type": "t", "data": {"x": "y" * MAX_EVENT}}]}, "larger than"),
        ({"events": [{"type": "t", "data": {"x": 1 << 64}}]}, "beyond 64 bits"),
        ({"id": "e2", "events": []}, "the oldest open event is e1"),
        ({"id": 7, "events": []}, "Expected `str`"),
    ],
)
def test_the_failure_names_the_fault(answer: dict[str, Any], text: str) -> None:
    with pytest.raises(StepFailed) as failure:
        parse_answer(line(**answer), "e1")
    assert text in failure.value.message
    assert not failure.value.final


def test_nesting_without_end_is_a_failure_of_the_program_alone() -> None:
    deep = b"[" * 100_000
    with pytest.raises(StepFailed, match="not what a step may answer"):
        parse_answer(b'{"id":"e1","events":[{"type":"t","data":{"x":' + deep, "e1")
    with pytest.raises(StepFailed, match="not one event a line"):
        parse_events(b'{"line":1,"type":"t","data":{"x":' + deep, b"a line\n")


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_data_may_be_nested_up_to_the_limit_of_events(opening: bytes, closing: bytes) -> None:
    def data(levels: int) -> bytes:
        return b'{"x":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"

    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 900):
        answer = b'{"id":"e1","events":[{"type":"t","data":' + data(levels) + b"}]}"
        found = b'{"line":1,"type":"t","data":' + data(levels) + b"}"
        if levels == MAX_DEPTH:
            assert len(parse_answer(answer, "e1")) == len(parse_events(found, b"a line\n")) == 1
            continue
        with pytest.raises(StepFailed, match=f"event 0 of the answer is nested more than {MAX_DEPTH} deep"):
            parse_answer(answer, "e1")
        with pytest.raises(StepFailed, match=f"event of line 1 is nested more than {MAX_DEPTH} deep"):
            parse_events(found, b"a line\n")


def test_error_is_final_and_cut() -> None:
    with pytest.raises(StepFailed, match="reports: no") as failure:
        parse_answer(line(error="no" + "o" * 10_000), "e1")
    assert failure.value.final
    assert len(failure.value.message) < 3000


@given(st.lists(st.text(max_size=300), max_size=8))
def test_file_names_are_safe_and_distinct(names: list[str]) -> None:
    made = file_names([BlobRef(n) for n in names])
    assert len(set(made)) == len(names)
    for name in made:
        assert name == name.strip("/")
        assert not name.startswith(".")
        assert 0 < len(name) <= 110
        assert name.isascii()
        assert "/" not in name


@given(st.dictionaries(st.text(), JSON, max_size=4), st.lists(st.text(max_size=20), max_size=4))
def test_event_is_one_line_with_its_blobs_paths(data: dict[str, Any], names: list[str]) -> None:
    event = Event(id="e1", source="/n/p/s", type="t", time="2026-01-01T00:00:00Z", data=data)
    blobs = [BlobRef(n, f"cid{i}", "image/jpeg", i, "/host/path") for i, n in enumerate(names)]
    raw = encode_event(event, blobs, file_names(blobs))
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    read = json.loads(raw)
    assert read["specversion"] == "1.0"
    if blobs:
        assert [(b["name"], b["cid"], b["size"]) for b in read["data"].pop("blobs")] == [
            (b.name, b.cid, b.size) for b in blobs
        ]
        assert b"/host/path" not in raw
        data = {k: v for k, v in data.items() if k != "blobs"}
        assert read["data"] == data


@given(st.text(min_size=EXCERPT) | st.text("é😀", min_size=EXCERPT))
def test_an_excerpt_is_cut_by_characters(text: str) -> None:
    assert excerpt(text.encode()) == text[:EXCERPT]


def test_an_answer_to_another_event_is_shown() -> None:
    with pytest.raises(StepFailed) as failure:
        parse_answer(line(id="e2", events=[]), "e1")
    assert failure.value.fields["line"] == '{"id": "e2", "events": []}'
