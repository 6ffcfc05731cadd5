"""JMESPath over events: the truth of `when`, and the keys of windows."""

from __future__ import annotations

from typing import Any

import jmespath.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.definitions.expressions import MAX_EXPRESSION, compile_expression, key_of, passes
from tests.delivery.events import event

LABELS = {"labels": [{"name": "cat", "score": 0.9}, {"name": "person", "score": 0.5}]}


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("", {}, True),
        ("!data.device.known", {"device": {"known": True}}, False),
        ("!data.device.known", {"device": {"known": False}}, True),
        ("!data.device.known", {}, True),
        ("(!data).device.known", {"device": {"known": True}}, False),
        ("!data.a[0].b", {"a": [{"b": 1}]}, False),
        ("!data.a[?b > `1`]", {"a": [{"b": 2}]}, False),
        ("!data.a[?b > `1`]", {"a": [{"b": 1}]}, True),
        ("!data.a == `false`", {"a": True}, True),
        ("!data.a && data.b", {"b": 1}, True),
        ("!data.a || data.b", {"a": 1}, False),
        ("!!data.a", {"a": 1}, True),
        ("!contains(data.a, 'x')", {"a": ["x"]}, False),
        ("!data.a | @", {"a": 1}, False),
        ("data.labels[?name=='person' && score >= `0.4`]", LABELS, True),
        ("data.labels[?name=='person' && score >= `0.6`]", LABELS, False),
        ("data.labels[?name=='person' && score >= `0.4`]", {}, False),
        ("type == 'wifi.client.joined'", {}, True),
        ("root == id", {}, True),
        ("data.n", {"n": 0}, True),
        ("data.n", {"n": ""}, False),
        ("data.n", {"n": []}, False),
        ("data.n", {"n": {}}, False),
        ("data.n", {"n": False}, False),
    ],
)
def test_when_reads_the_event(text: str, data: dict[str, Any], expected: bool) -> None:
    assert passes(text, event(data=data)) is expected


def test_the_root_of_a_derived_event_is_its_first_event() -> None:
    assert passes("root == 'r'", event("e", root="r"))
    assert key_of(["root", "data.camera"], event("e", root="r", data={"camera": "c"})) == '["r","c"]'


def test_keys_differ_where_the_values_differ() -> None:
    a = key_of(["data.x"], event(data={"x": {"a": 1, "b": 2}}))
    assert a != key_of(["data.x"], event(data={"x": {"a": 1, "b": 3}}))
    assert key_of(["data.x", "data.y"], event(data={"x": "a,b"})) != key_of(
        ["data.x", "data.y"], event(data={"x": "a", "y": "b"})
    )
    assert key_of(["data.missing"], event()) == "[null]"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data.labels[?score > `0`]", {"labels": [{"score": "high"}]}),
        ("max(data.m)", {"m": [1, "a", None]}),
        ("data.l[::0]", {"l": [1]}),
        ("ceil(to_number(data.s))", {"s": "inf"}),
        ("length(data.n)", {"n": 1}),
        ("abs(data.n)", {"n": "x"}),
    ],
)
def test_a_value_of_another_type_is_false_and_raises_nothing(text: str, data: dict[str, Any]) -> None:
    assert passes(text, event(data=data)) is False
    assert key_of([text], event(data=data)) == "[null]"


@pytest.mark.parametrize("text", ["&data", '`"\\ud800"`'])
def test_a_key_that_is_not_json_is_null(text: str) -> None:
    assert key_of([text], event()) == "[null]"


@pytest.mark.parametrize(
    "text",
    ["data.[", "nofunc(data)", "length()", "length(a, b)", "a.b(", "(" * 3000, "!" * 3000 + "a", "a" * (MAX_EXPRESSION + 1),
     "data.a[" + "?" * 20],
)  # fmt: skip
def test_compiling_a_bad_expression_raises(text: str) -> None:
    with pytest.raises(jmespath.exceptions.JMESPathError):
        compile_expression(text)


@pytest.mark.parametrize("text", ["not_null(a, b, c)", "merge(a)", "starts_with(data.blobs[0].type, 'image/')"])
def test_functions_with_any_number_of_arguments_compile(text: str) -> None:
    compile_expression(text)


_tokens = st.sampled_from(
    ["data", ".", "a", "b", "[", "]", "[]", "[*]", "[0]", "[::0]", "[::-1]", "[?", "`0`", '`"\\ud800"`', "'x'", "!", "&&", "||",
     "|", "==", "<", ">=", "(", ")", ",", "@", "&", "*", "{", "}", ":", "length(", "max(", "sort_by(", "to_number(", "ceil(",
     "map(", "join(", "sum(", "avg(", "keys(", "type(", "9" * 30]
)  # fmt: skip
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "inf", "nan", "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(_tokens, max_size=12).map("".join), _json)
def test_evaluating_any_text_on_any_data_raises_nothing(text: str, data: Any) -> None:
    made = event(data={"a": data, "b": [data]})
    assert passes(text, made) in (True, False)
    assert key_of([text], made).startswith("[")


@settings(max_examples=400)
@given(
    st.sampled_from(["data.a > `0`", "sum(data.a)", "max(data.a)", "sort(data.b)", "data.b[?@ < data.a]", "join(',', data.b)",
                     "ceil(to_number(data.a))", "sort_by(data.b, &a)", "data.a[::0]", "reverse(data.a)", "merge(data.a, data.b)"]),
    _json,
)  # fmt: skip
def test_evaluating_an_expression_on_any_data_raises_nothing(text: str, data: Any) -> None:
    made = event(data={"a": data, "b": [data, 1]})
    assert passes(text, made) in (True, False)
    assert key_of([text], made).startswith("[")
