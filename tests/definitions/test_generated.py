"""Properties of loading over many files: valid files load as written, and a mutation is loaded or refused with its place."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import PipelineError
from agent.model.pipeline import Keep
from agent.steps import KINDS
from tests.definitions.generated import files
from tests.definitions.test_schema import valid
from tests.definitions.test_versions import CORPUS
from tests.support import decode_pipeline, load_pipeline

TEXTS = [file.read_text() for file in sorted(CORPUS.glob("*.yaml"))]
PIECES = [
    *"{}[]:,-#&*!|>'\"%@`?~ \n\t\0",
    "  ",
    ": ",
    "- ",
    "<<",
    "5m",
    "0",
    "null",
    "[[",
    "\n---\n",
    "\x85",
    "\ud800",
    "é",
]
BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@settings(max_examples=100)
@given(files())
def test_a_valid_file_loads_as_written_and_round_trips(made: tuple[dict[str, Any], list[Any], Keep]) -> None:
    document, expected, keep = made
    text = msgspec.json.encode(document).decode()  # JSON is YAML
    pipeline = load_pipeline(text)
    for step, (fields, task) in zip(pipeline.steps[1:], expected, strict=True):
        assert {name: getattr(step, name) for name in fields} == fields
        assert KINDS.task_of(step) == task
    assert pipeline.keep == keep
    again = decode_pipeline(msgspec.json.encode(pipeline))
    assert again == pipeline
    assert again.version == pipeline.version
    assert load_pipeline(text).version == pipeline.version
    assert valid(document)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A valid file in which pieces are removed, inserted or repeated."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 5, 40]))
        piece = draw(st.sampled_from([*PIECES, text[start:end] * 2, ""]))
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=200)
@given(mutations())
def test_a_mutated_file_loads_or_is_refused_at_one_of_its_lines(text: str) -> None:
    try:
        pipeline = load_pipeline(text, file="p.yaml")
    except PipelineError as e:
        error = e
    else:
        assert decode_pipeline(msgspec.json.encode(pipeline)) == pipeline
        return
    line, column = error.fields["line"], error.fields["column"]
    assert error.hint
    assert 1 <= line <= len(BREAKS.findall(text)) + 1
    assert 1 <= column <= len(text) + 1
    assert error.message.startswith(f"p.yaml:{line}:{column}: ")
