"""From YAML to a checked pipeline: good files load, and every error has a place and a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.definitions.keys import PipelineFile, keys_of, step_keys
from agent.errors import PipelineError
from agent.model.pipeline import DAY, Keep, Pipeline, Step, Window
from agent.model.task import DockerTask, Limits
from agent.steps import KINDS
from agent.steps.presence import PresenceTask
from tests.delivery.story import STORY
from tests.support import load_pipeline

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
TASK_KEYS = [k for kind in KINDS.values() for k in keys_of(kind.task)]
HEAD = "version: 1\nname: p\nsteps:\n  log:\n    tail: auto\n    wasm: {module: m.wasm}\n"


def refused(text: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        load_pipeline(text, file="p.yaml")
    error = caught.value
    assert error.message.startswith(f"p.yaml:{error.fields['line']}:{error.fields['column']}: ")
    assert error.hint
    return error


def step(body: str) -> str:
    """A pipeline whose second step, on line 7, is `body`; its columns count from 8."""
    return HEAD + f"  s: {{{body}}}\n"


# -- files that load --------------------------------------------------------------------------------------------------


def test_the_story_loads_with_its_structs_and_defaults() -> None:
    p = load_pipeline(STORY)
    by_name = {s.name: s for s in p.steps}
    assert [(s.name, s.kind, s.pick) for s in p.steps] == [
        ("wifi", "tail", "all"),
        ("arrived", "presence", "one"),
        ("photos", "camera", "all"),
        ("small", "wasm", "here"),
        ("labels", "docker", "one"),
        ("alert", "sink", "one"),
    ]
    assert by_name["arrived"].task_as(PresenceTask).away == 1800.0
    assert by_name["photos"].deadline == 15.0
    assert by_name["photos"].after == ["arrived"]
    assert by_name["labels"].prefer == "gpu=true"
    assert by_name["alert"].where == "uplink=true"
    assert by_name["alert"].deadline == 7 * DAY
    assert by_name["alert"].cooldown == Window(["root", "data.camera"], 300.0)
    assert by_name["small"].deadline == 3600.0
    assert by_name["small"].attempts == 3
    assert p.keep == Keep(7 * 86400.0, 0.0)
    assert p.text == STORY


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_examples_load(path: Path) -> None:
    assert load_pipeline(path.read_text(), file=path.name).steps


def test_a_loaded_pipeline_survives_its_document() -> None:
    p = load_pipeline(STORY)
    again = msgspec.json.decode(msgspec.json.encode(p), type=Pipeline)
    assert again == p
    assert again.version == p.version


def test_the_version_depends_on_content_and_not_on_form() -> None:
    p = load_pipeline(STORY)
    assert load_pipeline("# a comment\n" + STORY).version == p.version
    assert load_pipeline(STORY.replace("away: 30m", "away: 1800")).version == p.version
    assert load_pipeline(STORY.replace("away: 30m", "away: 31m")).version != p.version


def test_limits_that_are_not_written_have_their_kinds_defaults() -> None:
    p = load_pipeline(step("after: log, docker: {image: i, memory: 2GiB, timeout: 1m}"))
    task = p.steps[1].task_as(DockerTask)
    assert (task.limits.memory, task.limits.timeout, task.limits.cpus) == (2 << 30, 60.0, 2.0)
    assert task.limits.outputs == 64 << 20


def test_a_wasm_step_with_a_selector_runs_on_one_node() -> None:
    p = load_pipeline(step("after: log, wasm: {module: m.wasm}, where: gpu=true"))
    assert p.steps[1].pick == "one"
    p = load_pipeline(step("after: log, wasm: {module: m.wasm}, where: gpu=true, pick: here"))
    assert p.steps[1].pick == "here"


def test_steps_may_share_parents_and_have_several() -> None:
    p = load_pipeline(
        HEAD + "  a: {after: log, presence: }\n  b: {after: log, sink: }\n  c: {after: [a, b], sink: {}}\n"
    )
    assert p.steps[3].after == ["a", "b"]
    assert [s.name for s in p.children("log")] == ["a", "b"]


def test_on_and_no_are_words_since_yaml_is_1_2() -> None:
    p = load_pipeline(HEAD + "  on: {after: log, sink: }\n  no: {after: 'on', sink: }\n")
    assert [s.name for s in p.steps] == ["log", "on", "no"]


@pytest.mark.parametrize(
    "source", ["journald", "/var/log/messages", "{file: /var/log/m, from_start: true}", '{syslog: "udp://:5514"}']
)
def test_a_source_of_any_kind_loads(source: str) -> None:
    assert load_pipeline(HEAD.replace("auto", source)).steps[0].kind == "tail"


def test_anchors_and_aliases_work() -> None:
    p = load_pipeline(
        HEAD
        + "  a: {after: log, cooldown: &c {key: [root], for: 5m}, sink: }\n  b: {after: log, cooldown: *c, sink: }\n"
    )
    assert p.steps[1].cooldown == p.steps[2].cooldown == Window(["root"], 300.0)


def test_an_anchor_may_be_set_again_without_a_warning() -> None:
    a, b = "dedupe: &w {key: a, for: 1}, cooldown: *w", "dedupe: &w {key: b, for: 1}, cooldown: *w"
    p = load_pipeline(HEAD + f"  a: {{after: log, sink: , {a}}}\n  b: {{after: log, sink: , {b}}}\n")
    assert [s.cooldown and s.cooldown.key for s in p.steps[1:]] == [["a"], ["b"]]


# -- refused files: message, line, column, hint -----------------------------------------------------------------------

WRONG = {
    "unknown step key": (step("after: log, wher: a=b, sink: "), (7, 19), "no key wher", "did you mean where"),
    "unknown pipeline key": (HEAD + "kep: {}\n", (7, 1), "no key kep", "did you mean keep"),
    "unknown task key": (step("after: log, camera: {shot: 1}"), (7, 28), "no key shot", "did you mean shots"),
    "unknown limit": (step("after: log, wasm: {module: m, mem: 1}"), (7, 37), "no key mem", "memory"),
    "limit of another kind": (step("after: log, camera: {memory: 1}"), (7, 28), "no key memory", "shots"),
    "unknown window key": (step("after: log, dedupe: {key: a, fro: 1}, sink: "), (7, 36), "no key fro", "did you mean for"),
    "wrong type": (step("after: log, camera: {shots: many}"), (7, 28), "shots is a number", "shots: 2"),
    "a list where a text is": (step("after: log, where: [a], sink: "), (7, 19), "where is a selector", "where: camera=true"),
    "a text where a list is": (step("after: log, emit: a, sink: "), (7, 19), "emit is a list", "emit: ["),
    "bad duration": (step("after: log, deadline: soon, sink: "), (7, 19), "'soon' is not a duration", "15s"),
    "negative duration": (step("after: log, deadline: -1, sink: "), (7, 19), "not a duration", "15s"),
    "endless duration": (step("after: log, deadline: .inf, sink: "), (7, 19), "longer than a century", "15s"),
    "duration out of range": (step(f"after: log, deadline: {'9' * 400}, sink: "), (7, 19), "longer than a century", "15s"),
    "bad size": (step("after: log, wasm: {module: m, memory: much}"), (7, 37), "'much' is not a size", "64MiB"),
    "size out of range": (step(f"after: log, wasm: {{module: m, memory: {'9' * 30}}}"), (7, 37), "larger than 1024 TiB", "64MiB"),
    "negative number": (step("after: log, camera: {shots: -3}"), (7, 28), "too small", "shots: 2"),
    "no number": (step("after: log, wasm: {module: m, cpus: .nan}"), (7, 37), "cpus", "cpus: 2"),
    "no attempt": (step("after: log, attempts: 0, sink: "), (7, 19), "too small", "1 to 10, for example `attempts: 3`"),
    "circle": (HEAD + "  a: {after: b, sink: }\n  b: {after: a, sink: }\n", (7, 7), "circle: a, b", "cut"),
    "own parent": (step("after: s, sink: "), (7, 7), "circle: s", "cut"),
    "unknown step in after": (step("after: lgo, sink: "), (7, 7), "no step lgo", "did you mean log"),
    "after nothing": (step("sink: "), (7, 3), "follows nothing", "after: log"),
    "nothing to follow": ("version: 1\nname: p\nsteps: {s: {sink: }}\n", (3, 9), "follows nothing", "add a source"),
    "source with after": (HEAD.replace("tail", "after: log\n    tail"), (5, 5), "is a source", "remove `after`"),
    "source with when": (HEAD + "    when: a\n", (7, 5), "source has no when", "the step that follows log"),
    "source with cooldown": (HEAD + "    cooldown: {key: a, for: 1}\n", (7, 5), "has no cooldown", "follows log"),
    "tail without a filter": (HEAD.replace("    wasm: {module: m.wasm}\n", ""), (5, 5), "needs `wasm` beside it", "wasm: {module"),
    "tail of nothing": (HEAD.replace("auto", ""), (5, 5), "tail is a path, auto", "tail: auto"),
    "tail of a relative path": (HEAD.replace("auto", "log.txt"), (5, 5), "neither an absolute path", "journald"),
    "tail of an unknown kind": (HEAD.replace("auto", "{sylog: a}"), (5, 5), "not a source of lines", "syslog"),
    "filter that runs once": (HEAD.replace("m.wasm", "m.wasm, once: true"), (6, 28), "each batch", "remove `once`"),
    "once that is no truth": (step("after: log, wasm: {module: m, once: maybe}"), (7, 37), "true or false", "once: true"),
    "tail on one node": (HEAD + "    pick: one\n", (7, 5), "runs on all nodes", "narrow `where`"),
    "nothing to run": (step("after: log"), (7, 3), "nothing to run", "exactly one of tail, wasm"),
    "two things to run": (step("after: log, sink: , camera: "), (7, 3), "more than one thing to run", "exactly one"),
    "empty executor that needs a key": (step("after: log, wasm: "), (7, 19), "module is missing", "module: "),
    "no mapping in an executor": (step("after: log, docker: edge/detector:1"), (7, 19), "docker is not a mapping", "{…}"),
    "no mapping in a window": (step("after: log, cooldown: 5m, sink: "), (7, 19), "cooldown is a mapping, not '5m'", "key: [root]"),
    "window without a time": (step("after: log, dedupe: {key: root}, sink: "), (7, 27), "for is missing", "for: 5m"),
    "bad selector": (step("after: log, where: 'a in (b', sink: "), (7, 19), "parentheses", "role in (ap,edge)"),
    "bad prefer": (step("after: log, prefer: '=b', sink: "), (7, 19), "not a requirement", "camera=true"),
    "bad pick": (step("after: log, pick: some, sink: "), (7, 19), "pick is all, one or here", "one"),
    "bad JMESPath": (step("after: log, when: 'data.[', sink: "), (7, 19), "not a JMESPath expression", "jmespath.org"),
    "unknown function": (step("after: log, when: 'lenght(data)', sink: "), (7, 19), "no function lenght()", "jmespath"),
    "too few arguments": (step("after: log, when: 'length()', sink: "), (7, 19), "length() takes 1", "jmespath.org"),
    "bad JMESPath in a key": (step("after: log, dedupe: {key: '[', for: 1}, sink: "), (7, 28), "JMESPath", "jmespath.org"),
    "deep JMESPath": (step(f"after: log, when: '{'(' * 3000}', sink: "), (7, 19), "nested too deeply", "jmespath.org"),
    "unknown merged key": (step("<<: {wher: a=b}, after: log, sink: "), (7, 6), "no key wher", "did you mean where"),
    "merged executor that needs a key": (step("<<: {wasm: }, after: log"), (7, 6), "module is missing", "module: "),
    "duplicate key": (HEAD + "    tail: journald\n", (7, 5), "duplicate key", "written twice"),
    "duplicate step": (HEAD + "  log: {}\n", (7, 3), "duplicate key", "written twice"),
    "not YAML": ("version: 1\nname: [a\n", (3, 1), "", "indentation"),
    "not text": ("a: \0", (1, 1), "not YAML", "UTF-8"),
    "half a character": ("a: \ud800", (1, 1), "not YAML", "UTF-8"),
    "no such day": ("version: 2001-99-99", (1, 1), "not YAML", "UTF-8"),
    "deep brackets": ("[" * 1500, (1, 1), "not YAML", "brackets"),
    "several documents": (HEAD + "---\na: 1\n", (7, 1), "another document", "indentation"),
    "empty file": ("", (1, 1), "a pipeline is a mapping", "version: 1"),
    "a list": ("- a\n", (1, 1), "a pipeline is a mapping", "version: 1"),
    "no version": (HEAD.replace("version: 1\n", ""), (1, 1), "version is missing", "version: 1"),
    "another version": (HEAD.replace("version: 1", "version: 2"), (1, 1), "reads version 1", "version: 1"),
    "no name": (HEAD.replace("name: p\n", ""), (1, 1), "name is missing", "name: "),
    "bad name": (HEAD.replace("name: p", "name: Über"), (2, 1), "'Über' is not a name", "lower-case"),
    "long name": (HEAD.replace("name: p", "name: " + "p" * 64), (2, 1), "is not a name", "at most 63"),
    "bad step name": (HEAD + "  a/b: {after: log, sink: }\n", (7, 3), "'a/b' is not a name", "lower-case"),
    "no steps": ("version: 1\nname: p\n", (1, 1), "steps is missing", "steps: "),
    "empty steps": ("version: 1\nname: p\nsteps: {}\n", (3, 1), "1 to 64 steps", "tail"),
    "too many steps": (HEAD + "".join(f"  s{i}: {{after: log, sink: }}\n" for i in range(64)), (3, 1), "1 to 64", "source"),
    "a step that is no mapping": (HEAD + "  s: 5\n", (7, 3), "s is not a mapping", "at least one of"),
    "keep that is no mapping": (HEAD + "keep: 7d\n", (7, 1), "keep is not a mapping", "matched: 7d"),
    "bad keep": (HEAD + "keep: {matched: x}\n", (7, 8), "not a duration", "matched: 7d"),
    "too large": (HEAD + "#" * (256 * 1024), (1, 1), "larger than 256 KiB", "several pipelines"),
    "many in each other": (HEAD + f"keep: {'[' * 25}{']' * 25}\n", (1, 1), "20 in each other", "aliases"),
    "tower of aliases": (
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 8)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
        (1, 1),
        "more than 10000 values",
        "aliases",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_error_has_its_place_and_a_hint(name: str) -> None:
    text, place, message, hint = WRONG[name]
    error = refused(text)
    assert message in error.message
    assert hint in error.hint
    assert (error.fields["line"], error.fields["column"]) == place
    assert error.exit_code == 2


def test_an_error_has_the_key_as_a_field() -> None:
    assert refused(step("after: log, deadline: soon, sink: ")).to_dict()["key"] == "deadline"


# -- any text ---------------------------------------------------------------------------------------------------------

_words = st.sampled_from(
    [
        *keys_of(PipelineFile), *step_keys(KINDS), *TASK_KEYS, *keys_of(Window), *keys_of(Keep), "version: 1\n",
        "name: p\n", "steps:\n", "  a:\n", "    tail: auto\n", "wasm: {module: m}", "after: a", ": ", "{", "}", "[", "]", ",",
        "\n", "  ", "    ", "-", "&a", "*a", "<<", "!", "!!", "|", ">", "'", '"', "#", "?", "%", "---", "...", "\t", "0o9", "1e9",
        ".inf", ".nan", "-1", "5m", "null", "~", "true", "2001-01-99", "!!int", "!!float", "!!binary", "!!timestamp", "!!set",
        "!!omap", "!!pairs", "!!null", "!!bool", "\\x", "0x", "\ud800", "\x85", "1:60:60", "=", "`", "@",
    ]
)  # fmt: skip
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*step_keys(KINDS), *keys_of(Limits), *keys_of(Window)]), inner)
    ),
    max_leaves=6,
)


def survives(text: str) -> None:
    try:
        p = load_pipeline(text)
    except PipelineError as e:
        error = e
    else:
        assert msgspec.json.decode(msgspec.json.encode(p), type=Pipeline) == p
        for s in p.steps:
            KINDS.task_of(s)
        return
    assert error.hint
    assert error.fields["line"] >= 1
    assert error.fields["column"] >= 1


@settings(max_examples=150)
@given(st.lists(_words, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_loads_or_raises_pipeline_error(text: str) -> None:
    survives(text)


@settings(max_examples=150)
@given(st.lists(_words, max_size=12).map("".join))
def test_any_end_of_a_good_file_loads_or_raises_pipeline_error(text: str) -> None:
    survives(HEAD + "  s:\n    after: log\n    " + text)


@settings(max_examples=150)
@given(st.sampled_from(list(keys_of(Step))), _values, st.sampled_from(list(KINDS)), _values)
def test_any_value_at_any_key_loads_or_is_refused_with_a_hint(key: str, value: Any, kind: str, task: Any) -> None:
    body: dict[str, Any] = {"after": "log", kind: task, key: value}
    flow = msgspec.json.encode(body).decode()  # JSON is YAML
    survives(HEAD + f"  s: {flow}\n")
