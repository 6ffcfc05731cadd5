"""From YAML to a checked Pipeline: everything is checked before anything runs, and each error names line and hint.

Modules and images stay as they are written; when a pipeline is applied, `agent/api/resolve.py` replaces them by CIDs and image ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

import jmespath.exceptions
import msgspec
from ruamel.yaml.comments import CommentedMap

from agent.definitions.checking import unreachable
from agent.definitions.keys import Key, PipelineFile, keys_of, step_keys
from agent.definitions.yaml_file import YamlFile, place_of, plain
from agent.errors import ConfigError
from agent.model.pipeline import MAX_STEPS, NAME, Keep, Pipeline, Step
from agent.model.step_kind import BY_KIND, Kinds, StepKind, WrongSetting

NOT_FOR_SOURCES = ("when", "prefer", "dedupe", "cooldown", "deadline")
"""Keys about incoming events, which a source does not have."""
MAY_BE_EMPTY = ("after", "when", "where", "pick", "prefer")
"""Keys whose empty text means the default."""


def load_pipeline(text: str, kinds: Kinds, *, file: str = "pipeline.yaml") -> Pipeline:
    """The pipeline in `text`; raises PipelineError with file, line, column and a hint."""
    return _Loader(file, kinds).load(text)


class _Loader:
    def __init__(self, file: str, kinds: Kinds) -> None:
        self.kinds = kinds
        self.step_keys = step_keys(kinds)
        self.file = YamlFile(file)
        self.fail = self.file.fail

    def load(self, text: str) -> Pipeline:
        doc = self.file.parse(text)
        keys = keys_of(PipelineFile)
        self.check_keys(doc, keys, "a pipeline")
        if self.value(doc, keys["version"]) != 1:
            self.fail(doc, "version", "this agent reads version 1", "write `version: 1`")
        name = self.name(doc, "name", self.value(doc, keys["name"]))
        self.value(doc, keys["steps"])
        raw_steps = doc["steps"]
        if not raw_steps or len(raw_steps) > MAX_STEPS:
            self.fail(
                doc, "steps", f"a pipeline has 1 to {MAX_STEPS} steps", "name at least one source, such as `tail`"
            )
        steps = [self.step(raw_steps, key) for key in raw_steps]
        self.check_graph(raw_steps, steps)
        return Pipeline(name=name, steps=steps, keep=self.keep(doc, keys["keep"]), text=text)

    def step(self, steps: CommentedMap, key: Any) -> Step:
        name = self.name(steps, key, key)
        raw = steps[key]
        if not isinstance(raw, CommentedMap):
            self.fail(steps, key, f"step {name} is not a mapping", "give it at least one of " + ", ".join(self.kinds))
        self.check_keys(raw, self.step_keys, f"step {name}")
        kind = self.kind(steps, key, raw)
        keys = [k for k in keys_of(Step).values() if k.name not in MAY_BE_EMPTY or raw.get(k.name) != ""]
        written = self.values(raw, keys)
        defaults = {field: getattr(kind, field) for field in BY_KIND} | {"deadline": _encoded(kind.deadline)}
        if kind.pick == "here" and "where" in written:
            defaults["pick"] = "one"
        if kind.pick == "all" and written.get("pick") == "one":
            self.fail(
                raw, "pick", f"{kind.name} runs on all nodes that match", "narrow `where` instead, e.g. node=NAME"
            )
        for unused in (k for k in NOT_FOR_SOURCES if kind.is_source and k in raw):
            self.fail(raw, unused, f"a source has no {unused}", f"give `{unused}` to the step that follows {name}")
        return Step(name=name, kind=kind.name, task=self.task(raw, kind), **{**defaults, **written})

    def kind(self, steps: CommentedMap, key: Any, raw: CommentedMap) -> StepKind:
        found = [self.kinds[k] for k in self.kinds if k in raw]
        for kind in (k for k in found if k.beside):
            if {k.name for k in found} == {kind.name, kind.beside}:
                return kind
            hint = f"add `{self.step_keys[kind.beside].example}` to the step and nothing else that runs"
            self.fail(raw, kind.name, f"{kind.name} needs `{kind.beside}` beside it", hint)
        if len(found) != 1:
            said = "more than one thing to run: " + ", ".join(k.name for k in found) if found else "nothing to run"
            self.fail(steps, key, f"step {key} has {said}", "give it exactly one of " + ", ".join(self.kinds))
        return found[0]

    def task(self, raw: CommentedMap, kind: StepKind) -> dict[str, Any]:
        key = self.step_keys[kind.name]
        task = {kind.value: self.value(raw, key)} if kind.value else self.settings(raw, key)
        if kind.beside:
            task[kind.beside] = self.settings(raw, self.step_keys[kind.beside])
        try:
            kind.check(msgspec.convert(task, kind.task))
        except msgspec.ValidationError as e:
            self.fail(raw, kind.name, f"{kind.name}: {e}", f"for example `{key.example}`")
        except WrongSetting as e:
            *above, last = e.at
            for name in above:
                raw = raw[name]
            self.fail(raw, last, e.message, e.hint)
        return task

    def settings(self, raw: CommentedMap, key: Key) -> dict[str, Any]:
        """The written settings of a mapping. If one limit is written, all limits have values."""
        assert key.struct is not None
        groups = {f.name: f.default for f in msgspec.structs.fields(key.struct)}
        body = self.body(raw, key)
        made: dict[str, Any] = {}
        for k in keys_of(key.struct).values():
            if k.required or k.name in body:
                inside = made.setdefault(k.group, msgspec.structs.asdict(groups[k.group])) if k.group else made
                inside[k.field] = self.settings(body, k) if k.struct and k.name in body else self.value(body, k)
        return made

    def keep(self, doc: CommentedMap, key: Key) -> Keep:
        if doc.get("keep") is None:
            return Keep()
        written = self.values(self.body(doc, key), keys_of(Keep).values())
        return Keep(**{k.field: _encoded(written.get(k.field, k.default)) for k in keys_of(Keep).values()})

    def check_graph(self, raw: CommentedMap, steps: list[Step]) -> None:
        names = [s.name for s in steps]
        for s in steps:
            if self.kinds.of(s).is_source and s.after:
                self.fail(raw[s.name], "after", f"{s.name} is a source and follows nothing", "remove `after`")
            if not self.kinds.of(s).is_source and not s.after:
                sources = [n.name for n in steps if self.kinds.of(n).is_source]
                hint = f"add `after: {sources[0]}`" if sources else "add a source, such as `tail`, for it to follow"
                self.fail(raw, s.name, f"step {s.name} follows nothing", hint)
            for parent in s.after:
                if parent not in names:
                    hint = _nearest(parent, names, "steps")
                    self.fail(raw[s.name], "after", f"there is no step {parent}", hint)
        if loop := unreachable(steps):
            said = "these steps follow each other in a circle: " + ", ".join(loop)
            self.fail(raw[loop[0]], "after", said, "cut one `after`")

    def body(self, raw: CommentedMap, key: Key) -> CommentedMap:
        """A mapping within a mapping, its keys checked. Nothing after the colon is an empty mapping."""
        body = raw[key.name]
        if body is None:
            body = CommentedMap()
            body.lc.line, body.lc.col = place_of(raw, key.name)
        if not isinstance(body, CommentedMap) or key.struct is None:
            hint = f"write it like {key.name}: {{…}}, for example `{key.example}`"
            self.fail(raw, key.name, f"{key.name} is not a mapping", hint)
        self.check_keys(body, keys_of(key.struct), key.name)
        return body

    def values(self, raw: CommentedMap, keys: Iterable[Key]) -> dict[str, Any]:
        return {k.field: self.value(raw, k) for k in keys if k.required or k.name in raw}

    def value(self, raw: CommentedMap, key: Key) -> Any:
        if key.name not in raw:
            self.fail(raw, None, f"{key.name} is missing", f"add `{key.example}`")
        written = plain(raw[key.name])
        try:
            value = key.convert(written)
        except (msgspec.ValidationError, ConfigError, OverflowError) as e:
            expected = f"{key.name} is {key.expected}, not {repr(written)[:80]}"
            said = e.message if isinstance(e, ConfigError) else expected
            self.fail(raw, key.name, said, f"for example `{key.example}`")
        if said := key.beyond(value):
            self.fail(raw, key.name, f"{key.name} is {said}", f"{key.bounds}for example `{key.example}`")
        try:
            key.check(value)
        except ConfigError as e:
            self.fail(raw, key.name, e.message, e.hint)
        except jmespath.exceptions.JMESPathError as e:
            said = f"not a JMESPath expression: {' '.join(str(e).split())}"
            self.fail(raw, key.name, said, "see https://jmespath.org")
        return (
            value
            if key.struct is None
            else key.struct(**self.values(self.body(raw, key), keys_of(key.struct).values()))
        )

    def check_keys(self, raw: CommentedMap, known: dict[str, Key], what: str) -> None:
        for key in raw:
            if key not in known:
                self.fail(raw, key, f"{what} has no key {key}", _nearest(str(key), known, "keys"))

    def name(self, raw: CommentedMap, key: Any, value: Any) -> str:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            self.fail(raw, key, f"{value!r} is not a name", "lower-case letters, digits and '-', at most 63")
        return value


def _nearest(name: str, known: Collection[str], what: str) -> str:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"{what}: {', '.join(known)}"


def _encoded(seconds: float) -> float:
    """An equal number that every encoding has: msgspec omits a field that holds the default object itself.

    The version of a pipeline is a hash of its encoding, and versions have always had these fields.
    """
    return float(repr(seconds))
