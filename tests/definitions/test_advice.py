"""Warnings about expressions that are valid and probably not meant so."""

from __future__ import annotations

import pytest

from agent.definitions import advice
from tests.support import load_pipeline

TEXT = """\
version: 1
name: p
steps:
  photos: {{tail: auto, wasm: {{module: m.wasm}}}}
  alert: {{after: photos, when: "{when}", sink: }}
"""


def found(when: str) -> list[str]:
    return advice(load_pipeline(TEXT.format(when=when)))


@pytest.mark.parametrize(
    "when", ["data.camera == 'front'", "data.node == 'a' && data.camera != 'front'", "contains(['front'], data.camera)",
             "!(`\\\"front\\\"` == data.camera)"],
)  # fmt: skip
def test_a_comparison_with_a_bare_name_is_warned_of(when: str) -> None:
    (text,) = found(when)
    assert text.startswith("p/alert: data.camera is NODE/CAMERA")
    assert "'NODE/front'" in text


@pytest.mark.parametrize(
    "when",
    [
        "data.camera == 'porch/front'",
        "ends_with(data.camera, '/front')",
        "data.kind == 'front'",
        "data.camera == data.other",
    ],
)
def test_other_expressions_are_not(when: str) -> None:
    assert found(when) == []
