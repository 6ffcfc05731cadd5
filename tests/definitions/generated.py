"""Valid pipeline files, generated from the keys: each value as it is written, with the value that it stands for."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from agent.definitions.keys import Key, keys_of, step_keys
from agent.model.pipeline import Keep, Step
from agent.steps import KINDS

Written = tuple[Any, Any]
_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
_SELECTORS = st.sampled_from(["a=b", "role in (ap,edge),!battery", "x notin (y)", "node=hall"])
_EXPRESSIONS = st.sampled_from(["root", "data.mac", "!data.device.known", "length(data.labels) > `2`"])
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    bool: st.booleans(),
    list[str]: st.lists(_TEXT, max_size=3),
    dict[str, str]: st.dictionaries(_TEXT, _TEXT, max_size=3),
}


def same(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Written]:
    """Values that are written as they are."""
    return values.map(lambda v: (v, v))


def one_or_more(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Written]:
    """A list, or a single text that stands for a list of one."""
    return same(st.lists(texts, max_size=3)) | texts.map(lambda t: (t, [t]))


def written(key: Key) -> st.SearchStrategy[Written]:
    """The values that may be written at a key."""
    low, high = key.meta.ge, key.meta.le
    if key.struct is not None:
        return mapping(keys_of(key.struct), key.struct)
    if get_origin(key.type) is Literal:
        return same(st.sampled_from(get_args(key.type)))
    match key.form:
        case "duration":
            assert low is not None
            assert high is not None
            seconds = st.integers(math.ceil(low), math.floor(high))
            return seconds.flatmap(
                lambda n: st.sampled_from([(n, float(n)), (f"{n}s", float(n)), (f"{n}", float(n)), (n + 0.0, n + 0.0)])
            )
        case "size":
            assert low is not None
            assert high is not None
            return st.integers(int(low), int(high)).flatmap(lambda n: st.sampled_from([(n, n), (f"{n}B", n)]))
        case "selector":
            return same(_SELECTORS)
        case "expression":
            return same(_EXPRESSIONS)
        case "expressions":
            return one_or_more(_EXPRESSIONS)
    if key.type is int:
        return same(st.integers(int(low or 0), int(high or 0)))
    if key.type is float:
        return same(st.floats(low, high, allow_nan=False))
    return same(_BY_TYPE[key.type])


@st.composite
def mapping(draw: st.DrawFn, keys: dict[str, Key], struct: type[msgspec.Struct]) -> Written:
    """A mapping of some of the keys, and the struct that it stands for; keys of a group are in a struct within it."""
    names = [k.name for k in keys.values() if k.required or draw(st.booleans())]
    values = {name: draw(written(keys[name])) for name in draw(st.permutations(names))}
    fields: dict[str, Any] = {}
    defaults = {f.name: f.default for f in msgspec.structs.fields(struct)}
    for name, (_, value) in values.items():
        key = keys[name]
        if key.group:
            inside = fields.get(key.group, defaults[key.group])
            fields[key.group] = msgspec.structs.replace(inside, **{key.field: value})
        else:
            fields[key.field] = value
    return {name: shown for name, (shown, _) in values.items()}, struct(**fields)


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[dict[str, Any], Any]], Keep]:
    """A file as a mapping; for each step the values of its written fields, and its task; what is kept."""
    steps: dict[str, Any] = {"log": {"tail": "auto", "wasm": {"module": "m.wasm"}}}
    expected = []
    common = {k.name: k for k in keys_of(Step).values()}
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([k for k in KINDS if k != "tail"]))
        names = [n for n in common if n != "after" and draw(st.booleans())]
        if KINDS[kind].pick == "all" and "pick" in names:
            names.remove("pick")
        values = {name: draw(written(common[name])) for name in names}
        body, task = draw(mapping(keys_of(KINDS[kind].task), step_keys(KINDS)[kind].type))
        after = draw(st.lists(st.sampled_from(list(steps)), min_size=1, max_size=3))
        expected.append(({common[n].field: value for n, (_, value) in values.items()} | {"after": after}, task))
        step = {"after": after, kind: body} | {n: shown for n, (shown, _) in values.items()}
        steps[f"s{number}"] = {n: step[n] for n in draw(st.permutations(list(step)))}
    keep, kept = draw(mapping(keys_of(Keep), Keep))
    return {"version": 1, "name": "p", "steps": steps, "keep": keep}, expected, kept
