"""The decoder of alerts: valid alerts pass, invalid alerts are refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from agent.errors import Refused
from agent.model.alert import Alert
from agent.model.event import MAX_DEPTH, MAX_EVENT
from cloud_sink.ingest.check import _Wire, decode_alert
from cloud_sink.settings import Limits
from tests.sink.running import encode, unsigned


@pytest.mark.parametrize("text", [r"\u0000", r"a\\u0000", r"\\\u0000"])
def test_text_with_an_escaped_nul_spelling_is_accepted(text: str) -> None:
    assert decode_alert(encode(unsigned("m", "n", text=text)), Limits()).event.data["text"] == text


@pytest.mark.parametrize("text", ["\0", "\\\0", "\\\\\0", r"\u0000" + "\0"])
def test_a_text_with_a_nul_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="NUL"):
        decode_alert(encode(unsigned("m", "n", text=text)), Limits())


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth - 1):
        inner = {"x": inner}
    return inner


def test_event_nested_deeper_than_agents_allow_is_refused() -> None:
    alert = unsigned("m", "n")
    alert.event.data = nested(MAX_DEPTH)
    decode_alert(encode(alert), Limits())
    alert.event.data = nested(MAX_DEPTH + 1)
    with pytest.raises(Refused, match="nested more than") as e:
        decode_alert(encode(alert), Limits())
    assert e.value.code == "sink.malformed"


def test_too_large_event_is_refused_before_it_takes_memory() -> None:
    body = msgspec.msgpack.decode(encode(unsigned("m", "n", photo=b"")))
    body["event"]["data"]["x"] = [{}] * 3_000_000
    raw = msgspec.msgpack.encode(body)
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as e:
            decode_alert(raw, Limits())
        assert tracemalloc.get_traced_memory()[1] < len(raw)
    finally:
        tracemalloc.stop()
    assert e.value.code == "sink.too-large"


def test_event_of_numbers_may_be_larger_in_msgpack_than_in_json() -> None:
    numbers = [0.5] * (MAX_EVENT // 4 - 1000)
    assert decode_alert(encode(unsigned("m", "n", numbers=numbers)), Limits()).event.data["numbers"] == numbers


def test_a_certificate_of_unreasonable_size_is_refused() -> None:
    alert = unsigned("m", "n")
    alert.certificate = b"x" * 16_385
    with pytest.raises(Refused, match="certificate"):
        decode_alert(encode(alert), Limits())


def test_alert_decoded_in_two_steps_has_every_field() -> None:
    assert _Wire.__struct_fields__ == Alert.__struct_fields__
