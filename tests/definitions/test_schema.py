"""The JSON Schema and the tables in the docs say what the loader does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from ruamel.yaml import YAML

from agent.definitions.keys import PipelineFile, keys_of, step_keys
from agent.definitions.loading import NOT_FOR_SOURCES
from agent.definitions.schema import json_schema
from agent.errors import PipelineError
from agent.model.pipeline import Keep, Step, Window
from agent.steps import KINDS
from tests.definitions.test_loading import EXAMPLES, HEAD, WRONG
from tests.delivery.story import STORY
from tests.support import load_pipeline

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "pipelines.md"
SHAPE = [
    "unknown step key", "unknown pipeline key", "unknown task key", "unknown window key", "limit of another kind", "wrong type",
    "a list where a text is", "a text where a list is", "negative number", "no attempt", "bad pick", "no version", "another version",
    "no name", "bad name", "no steps", "empty steps", "a step that is no mapping", "keep that is no mapping", "window without a time",
]  # fmt: skip
"""Errors that an editor with the schema shows."""


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def valid(document: Any) -> bool:
    return bool(jsonschema_rs.validator_for(json_schema(KINDS)).is_valid(document))


@pytest.mark.parametrize("text", [STORY, *(p.read_text() for p in EXAMPLES)])
def test_a_file_that_loads_is_valid(text: str) -> None:
    load_pipeline(text)
    assert valid(parsed(text))


@pytest.mark.parametrize("body", ["sink: ", "presence: ", "camera: ", "sink: {}", "camera: {every: 1.5}"])
def test_a_step_without_settings_is_valid(body: str) -> None:
    text = HEAD + f"  s: {{after: log, {body}}}\n"
    load_pipeline(text)
    assert valid(parsed(text))


@pytest.mark.parametrize("name", SHAPE)
def test_the_schema_refuses_errors_of_shape(name: str) -> None:
    with pytest.raises(PipelineError):
        load_pipeline(WRONG[name][0])
    assert not valid(parsed(WRONG[name][0]))


def test_every_key_has_a_description_and_an_example() -> None:
    tables = [
        keys_of(PipelineFile),
        step_keys(KINDS),
        *(keys_of(k.task) for k in KINDS.values()),
        keys_of(Window),
        keys_of(Keep),
    ]
    for table in tables:
        for key in table.values():
            assert key.meta.description
            assert key.meta.examples


def test_each_example_of_a_key_loads() -> None:
    for kind in list(KINDS)[1:]:
        keys = keys_of(KINDS[kind].task).values()
        needs = "".join(f"{k.example}, " for k in keys if k.required)
        for key in keys:
            if not key.required:
                load_pipeline(HEAD + f"  s: {{after: log, {kind}: {{{needs}{key.example}}}}}\n")
    for key in step_keys(KINDS).values():
        if key.name not in (*KINDS, "after"):
            load_pipeline(HEAD + f"  s: {{after: log, sink: , {key.example}}}\n")


def test_each_example_is_valid_in_the_schema() -> None:
    for kind, key in step_keys(KINDS).items():
        if kind in KINDS:
            filtered = "wasm: {module: m}, " if kind == "tail" else ""
            assert valid(parsed(f"version: 1\nname: p\nsteps: {{s: {{{filtered}{key.example}}}}}\n"))
    for key in keys_of(PipelineFile).values():
        others = "".join(f"{k.example}\n" for k in keys_of(PipelineFile).values() if k is not key)
        assert valid(parsed(others + key.example))


def test_the_tables_in_the_docs_come_from_the_structs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    page = importlib.import_module("pipelines_page")
    assert page.keys().strip() in DOCS.read_text()


def documented(title: str) -> dict[str, str]:
    """The key and the default of each row of a table in the docs."""
    section = DOCS.read_text().split(f"### {title}\n")[1].split("\n### ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("| `"): row[2] for row in rows}


def default_for(kind: str, cell: str) -> str:
    """The default of a step of this kind: `EMPTY`, or `MOST; KIND, KIND: OTHER`."""
    most, *others = cell.split("; ")
    for other in others:
        kinds, _, default = other.partition(": ")
        if kind in kinds.split(", "):
            return default.strip("`")
    return most.strip("`")


def loaded(kind: str, in_step: str = "", in_task: str = "") -> tuple[Step, Any]:
    """A step of this kind, its task apart as the struct that runs."""
    keys = {"wasm": "module: m, ", "docker": "image: i, ", "process": "command: [c], ", "tail": "module: m, "}
    task = f"{keys.get(kind, '')}{in_task}"
    body = f"tail: auto, wasm: {{{task}}}" if kind == "tail" else f"after: log, {kind}: {{{task}}}"
    step = load_pipeline(HEAD + f"  s: {{{body}, {in_step}}}\n").steps[1]
    return msgspec.structs.replace(step, task={}), KINDS.task_of(step)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_default_in_the_docs_is_the_default(kind: str) -> None:
    common, task = documented("A step"), keys_of(KINDS[kind].task)
    assert set(common) == set(step_keys(KINDS))
    unused = {*KINDS, "after", *(NOT_FOR_SOURCES if kind == "tail" else ())}
    for key, cell in common.items():
        default = default_for(kind, cell)
        if key not in unused and default != "none":
            text = {"empty": "[]" if key == "emit" else '""'}.get(default, default)
            assert loaded(kind, in_step=f"{key}: {text}") == loaded(kind), key
    if task:
        own, limits = documented(f"`{kind}`"), documented("Limits of `wasm`, `docker` and `process`")
        assert {*own, *(limits if "memory" in task else ())} == set(task)
        for key in task.values():
            default = default_for(kind, {**own, **limits}[key.name])
            if not key.required:
                text = {"empty": "{}" if key.name == "env" else "[]"}.get(default, default)
                assert loaded(kind, in_task=f"{key.name}: {text}") == loaded(kind), key.name
            else:
                assert default == "required"


def test_the_docs_name_the_other_keys_with_their_defaults() -> None:
    assert list(documented("A pipeline")) == list(keys_of(PipelineFile))
    assert documented("`dedupe` and `cooldown`") == dict.fromkeys(keys_of(Window), "required")
    keep = ", ".join(f"{key}: {default.strip('`')}" for key, default in documented("`keep`").items())
    assert load_pipeline(HEAD + f"keep: {{{keep}}}\n").keep == Keep()
    assert documented("A pipeline")["keep"] == f"`{{{keep}}}`"
