"""The JSON Schema and the docs' table, both from the keys that the loader reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from agent.definitions import load_pipeline
from agent.definitions.keys import EXECUTORS, LIMITS, PIPELINE_KEYS, STEP_KEYS, TASK_KEYS
from agent.definitions.schema import json_schema, markdown
from agent.errors import PipelineError
from tests.definitions.test_loading import EXAMPLES, HEAD, WRONG
from tests.delivery.story import STORY

DOCS = Path(__file__).parents[2] / "docs" / "pipelines.md"
SHAPE = [
    "unknown step key", "unknown pipeline key", "unknown task key", "unknown window key", "limit of another kind", "wrong type",
    "a list where a text is", "a text where a list is", "negative number", "no attempt", "bad pick", "no version", "another version",
    "no name", "bad name", "no steps", "empty steps", "a step that is no mapping", "keep that is no mapping", "window without a time",
]  # fmt: skip
"""Errors that an editor with the schema shows already."""


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def valid(document: Any) -> bool:
    return bool(jsonschema_rs.validator_for(json_schema()).is_valid(document))


@pytest.mark.parametrize("text", [STORY, *(p.read_text() for p in EXAMPLES)])
def test_what_loads_is_valid(text: str) -> None:
    load_pipeline(text)
    assert valid(parsed(text))


@pytest.mark.parametrize("body", ["sink: ", "presence: ", "camera: ", "sink: {}", "camera: {every: 1.5}"])
def test_what_loads_with_an_empty_executor_is_valid(body: str) -> None:
    text = HEAD + f"  s: {{after: log, {body}}}\n"
    load_pipeline(text)
    assert valid(parsed(text))


@pytest.mark.parametrize("name", SHAPE)
def test_an_error_of_shape_shows_in_the_schema_too(name: str) -> None:
    with pytest.raises(PipelineError):
        load_pipeline(WRONG[name][0])
    assert not valid(parsed(WRONG[name][0]))


def test_every_key_has_a_text_and_an_example_of_itself() -> None:
    tables = [PIPELINE_KEYS, STEP_KEYS, LIMITS, *TASK_KEYS.values()]
    for table in tables:
        for key in table.values():
            assert key.text
            assert key.example != "…", key.key


def test_each_example_in_the_tables_loads() -> None:
    for kind in EXECUTORS[1:]:
        needs = "".join(f"{k.key}: {k.example}, " for k in TASK_KEYS[kind].values() if k.required)
        others = [k for k in TASK_KEYS[kind].values() if not k.required]
        if kind in ("wasm", "docker", "process"):
            others += LIMITS.values()
        for key in others:
            load_pipeline(HEAD + f"  s: {{after: log, {kind}: {{{needs}{key.key}: {key.example}}}}}\n")
    for key in STEP_KEYS.values():
        if key.key not in (*EXECUTORS, "after"):
            load_pipeline(HEAD + f"  s: {{after: log, sink: , {key.key}: {key.example}}}\n")


def test_the_table_in_the_docs_is_the_code_s() -> None:
    assert markdown().strip() in DOCS.read_text()
