"""Records of decisions in memory: a dict in every respect but identity."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.decisions import Decision
from agent.delivery.records import MOST_SHAPES, MOST_TEXTS, Records

TEXT = st.text(max_size=3)
VALUE = st.dictionaries(st.sampled_from("abcd"), TEXT | st.integers(0, 300) | st.none() | st.lists(TEXT, max_size=2))
CALLS = st.tuples(st.sampled_from("xy"), TEXT, VALUE, st.booleans(), st.floats(0, 1e9))


def record(scope: str, key: str, value: dict[str, Any], *, at: float = 1.5, present: bool = True) -> Decision:
    return Decision(scope, key, f"first of {key}", at, at + 10, present, value)


@given(st.lists(CALLS, max_size=40))
def test_records_come_back_as_they_were(calls: list[Any]) -> None:
    records, model = Records(), dict[tuple[str, str], Decision]()
    for scope, key, value, gone, at in calls:
        if gone:
            assert (records.pop((scope, key), None) is None) == (model.pop((scope, key), None) is None)
        else:
            records[scope, key] = model[scope, key] = record(scope, key, value, at=at, present=len(key) > 1)
    assert dict(records) == model
    assert len(records) == len(model)
    assert dict(records.ends()) == {k: r.until for k, r in model.items()}
    assert all(k in records for k in model)
    assert ("x", "none of these") not in records


@pytest.mark.parametrize("many", [MOST_TEXTS + 50, 3])
def test_more_texts_than_are_kept_once_stay_apart(many: int) -> None:
    records = Records()
    made = [record("s", f"k{i}", {"node": f"n{i % many}", "long": "x" * 100, "n": i}) for i in range(1000)]
    for r in made:
        records[r.scope, r.key] = r
    assert list(records.values()) == made


def test_more_sets_of_names_than_are_known_stay_apart() -> None:
    records = Records()
    made = [record("s", f"k{i}", {f"name {i}": "v", "same": "w"} if i else {}) for i in range(2 * MOST_SHAPES)]
    for r in made:
        records[r.scope, r.key] = r
    assert list(records.values()) == made


def test_a_forgotten_record_is_unknown() -> None:
    records = Records()
    records["s", "k"] = record("s", "k", {})
    del records["s", "k"]
    assert ("s", "k") not in records
    with pytest.raises(KeyError):
        del records["s", "k"]
    with pytest.raises(KeyError):
        records["s", "k"]
    assert not records
