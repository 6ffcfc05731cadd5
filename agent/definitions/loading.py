"""From YAML 1.2 to a checked Pipeline: everything is checked before anything runs, each error names line and hint.

Modules and images stay as they are written; `resolve.py` replaces them by CIDs and image ids when a pipeline is applied.
"""

from __future__ import annotations

import io
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import jmespath.exceptions
import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.config.units import parse_duration, parse_size
from agent.definitions.expressions import compile_key, compile_when
from agent.definitions.keys import EXECUTORS, LIMITS, PIPELINE_KEYS, STEP_KEYS, TASK_KEYS, Key
from agent.errors import ConfigError, PipelineError
from agent.model.labels import Selector
from agent.model.pipeline import SINK_DEADLINE, Keep, Pipeline, Step, Window
from agent.model.task import DockerTask, ProcessTask, WasmTask
from agent.sources import open_source

MAX_TEXT = 256 * 1024
MAX_STEPS = 64
MAX_VALUES = 10_000
"""Most values in one file, aliases counted each time they are used."""
MAX_DEPTH = 20
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
NOT_FOR_SOURCES = ("when", "prefer", "dedupe", "cooldown", "deadline")
"""Keys that say something about events that come in."""
_PICK = {
    "tail": "all",
    "camera": "all",
    "wasm": "here",
    "docker": "one",
    "process": "one",
    "presence": "one",
    "sink": "one",
}


def load_pipeline(text: str, *, file: str = "pipeline.yaml") -> Pipeline:
    """The pipeline in `text`; raises PipelineError with file, line, column and a hint."""
    return _Loader(file).load(text)


class _Loader:
    def __init__(self, file: str) -> None:
        self.file = file

    def load(self, text: str) -> Pipeline:
        if len(text.encode(errors="replace")) > MAX_TEXT:
            self.fail(None, None, f"the file is larger than {MAX_TEXT >> 10} KiB", "split it into several pipelines")
        doc = self.parse(text)
        self.check_keys(doc, PIPELINE_KEYS, "a pipeline")
        if self.value(doc, PIPELINE_KEYS["version"]) != 1:
            self.fail(doc, "version", "this agent reads version 1", "write `version: 1`")
        name = self.name(doc, "name", self.value(doc, PIPELINE_KEYS["name"]))
        self.value(doc, PIPELINE_KEYS["steps"])
        raw_steps = doc["steps"]
        if not raw_steps or len(raw_steps) > MAX_STEPS:
            self.fail(
                doc, "steps", f"a pipeline has 1 to {MAX_STEPS} steps", "name at least one source, such as `tail`"
            )
        steps = [self.step(raw_steps, key) for key in raw_steps]
        self.check_graph(raw_steps, steps)
        return Pipeline(name=name, steps=steps, keep=self.keep(doc), text=text)

    def parse(self, text: str) -> CommentedMap:
        yaml = YAML(typ="rt", pure=True)
        yaml.version = (1, 2)
        yaml.allow_duplicate_keys = False
        try:
            doc = yaml.load(io.StringIO(text))
        except MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise PipelineError(
                f"{self.file}:{line}:{column}: {e.problem or 'not YAML'}",
                hint="check indentation, quotes and that no key is written twice",
                file=self.file,
                line=line,
                column=column,
            ) from None
        except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as e:
            # The parser's own errors for what it cannot read at all; they have no place.
            said = (str(e).splitlines() or ["not YAML"])[0]
            self.fail(None, None, f"not YAML: {said}", "save it as plain UTF-8 text with few brackets in each other")
        if not isinstance(doc, CommentedMap):
            self.fail(None, None, "a pipeline is a mapping", "start with `version: 1`")
        self.bounded(doc, [MAX_VALUES], 0)
        return doc

    def bounded(self, value: Any, left: list[int], depth: int) -> None:
        """Aliases may stand for a great deal: nothing of it is looked at before it is known to be little."""
        left[0] -= 1
        if left[0] < 0 or depth > MAX_DEPTH:
            self.fail(None, None, f"more than {MAX_VALUES} values, or {MAX_DEPTH} in each other", "use fewer aliases")
        if isinstance(value, dict | list | set | tuple):
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            for part in parts:
                self.bounded(part, left, depth + 1)

    def step(self, steps: CommentedMap, key: Any) -> Step:
        name = self.name(steps, key, key)
        raw = steps[key]
        if not isinstance(raw, CommentedMap):
            self.fail(steps, key, f"step {name} is not a mapping", "give it at least one of " + ", ".join(EXECUTORS))
        self.check_keys(raw, STEP_KEYS, f"step {name}")
        kind = self.kind(steps, key, raw)
        get = {k: self.value(raw, spec) for k, spec in STEP_KEYS.items() if k not in EXECUTORS}
        where = get["where"] or ("uplink=true" if kind == "sink" else "")
        self.selector(raw, "where", where)
        self.selector(raw, "prefer", get["prefer"])
        if get["when"]:
            self.expression(raw, "when", get["when"])
        pick = get["pick"] or _PICK[kind]
        if kind == "wasm" and where and not get["pick"]:
            pick = "one"
        if kind in ("tail", "camera") and pick == "one":
            self.fail(raw, "pick", f"{kind} runs on all nodes that match", "narrow `where` instead, e.g. node=NAME")
        if kind == "tail":
            for unused in (k for k in NOT_FOR_SOURCES if k in raw):
                self.fail(raw, unused, f"a source has no {unused}", f"give `{unused}` to the step that follows {name}")
        return Step(
            name=name,
            kind=kind,  # type: ignore[arg-type]
            task=self.task(raw, kind),
            after=[get["after"]] if isinstance(get["after"], str) and get["after"] else list(get["after"] or []),
            when=get["when"],
            where=where,
            pick=pick,  # type: ignore[arg-type]
            prefer=get["prefer"],
            dedupe=self.window(raw, "dedupe"),
            cooldown=self.window(raw, "cooldown"),
            emit=list(get["emit"]),
            deadline=SINK_DEADLINE if kind == "sink" and "deadline" not in raw else get["deadline"],
            attempts=get["attempts"],
        )

    def kind(self, steps: CommentedMap, key: Any, raw: CommentedMap) -> str:
        kinds = [k for k in EXECUTORS if k in raw]
        if kinds == ["tail", "wasm"]:
            return "tail"
        if "tail" in kinds:
            self.fail(
                raw, "tail", "tail needs a filter", "add `wasm: {module: …}` to the step and nothing else that runs"
            )
        if len(kinds) != 1:
            said = "nothing to run" if not kinds else "more than one thing to run: " + ", ".join(kinds)
            self.fail(steps, key, f"step {key} has {said}", "give it exactly one of " + ", ".join(EXECUTORS))
        return kinds[0]

    def task(self, raw: CommentedMap, kind: str) -> dict[str, Any]:
        if kind == "tail":
            source = raw["tail"]
            if not isinstance(source, str | dict):
                self.fail(raw, "tail", "tail takes a path, auto, journald, logread or {syslog: …}", "tail: auto")
            plain = str(source) if isinstance(source, str) else {str(k): _plain(v) for k, v in source.items()}
            self.source(raw, plain)
            return {"source": plain, "wasm": self.task(raw, "wasm")}
        body = raw[kind]
        if body is None:
            body = CommentedMap()
            body.lc.line, body.lc.col = raw.lc.key(kind)
        if not isinstance(body, CommentedMap):
            self.fail(raw, kind, f"{kind} is not a mapping", f"write it like {kind}: {{…}}")
        keys = TASK_KEYS[kind]
        self.check_keys(body, {**keys, **(LIMITS if kind in ("wasm", "docker", "process") else {})}, kind)
        task = {k: self.value(body, spec) for k, spec in keys.items() if k in body or spec.required}
        limits = {LIMITS[k].name: self.value(body, LIMITS[k]) for k in LIMITS if k in body}
        if limits and kind in ("wasm", "docker", "process"):
            task["limits"] = {**DEFAULT_LIMITS[kind], **limits}
        return task

    def source(self, raw: CommentedMap, source: str | dict[str, Any]) -> None:
        """`auto` is known only where it runs; everything else is checked now."""
        if source == "auto":
            return
        try:
            open_source(source, Path("/nonexistent"))
        except ConfigError as e:
            self.fail(raw, "tail", e.message, e.hint)

    def window(self, raw: CommentedMap, key: str) -> Window | None:
        body = raw.get(key)
        if body is None:
            return None
        if not isinstance(body, CommentedMap):
            self.fail(raw, key, f"{key} is not a mapping", f"write it like {key}: {{key: [root], for: 5m}}")
        self.check_keys(body, TASK_KEYS["window"], key)
        keys = self.value(body, TASK_KEYS["window"]["key"])
        keys = [keys] if isinstance(keys, str) else list(keys)
        for expression in keys:
            self.expression(body, "key", expression, key=True)
        return Window(keys, self.value(body, TASK_KEYS["window"]["for"]))

    def keep(self, doc: CommentedMap) -> Keep:
        body = doc.get("keep")
        if body is None:
            return Keep()
        if not isinstance(body, CommentedMap):
            self.fail(doc, "keep", "keep is not a mapping", "keep: {matched: 7d, unmatched: 0}")
        self.check_keys(body, TASK_KEYS["keep"], "keep")
        return Keep(**{k: self.value(body, spec) for k, spec in TASK_KEYS["keep"].items()})

    def check_graph(self, raw: CommentedMap, steps: list[Step]) -> None:
        names = [s.name for s in steps]
        for s in steps:
            if s.is_source and s.after:
                self.fail(raw[s.name], "after", f"{s.name} is a source and follows nothing", "remove `after`")
            if not s.is_source and not s.after:
                self.fail(raw, s.name, f"step {s.name} follows nothing", f"add `after: {names[0]}`")
            for parent in s.after:
                if parent not in names:
                    near = get_close_matches(parent, names, 1)
                    hint = f"did you mean {near[0]}?" if near else "steps: " + ", ".join(names)
                    self.fail(raw[s.name], "after", f"there is no step {parent}", hint)
        if loop := without_beginning(steps):
            self.fail(
                raw[loop[0]],
                "after",
                "these steps follow each other in a circle: " + ", ".join(loop),
                "cut one `after`",
            )

    def value(self, raw: CommentedMap, spec: Key) -> Any:
        key = spec.key
        if key not in raw:
            if spec.required:
                self.fail(raw, None, f"{key} is missing", f"add `{key}: {spec.example}`")
            return spec.default
        v = _plain(raw[key])
        try:
            if spec.type == "duration":
                v = parse_duration(v)
            elif spec.type == "size":
                v = parse_size(v)
            else:
                v = msgspec.convert(v, spec.struct)
        except (msgspec.ValidationError, ConfigError, OverflowError) as e:
            text = e.message if isinstance(e, ConfigError) else f"{key} is {spec.type}, not {repr(v)[:80]}"
            self.fail(raw, key, text, f"for example `{key}: {spec.example}`")
        if isinstance(v, int | float) and not spec.least <= v <= spec.most:
            said = "too small" if v < spec.least else "too large"
            self.fail(raw, key, f"{key} is {said}", f"for example `{key}: {spec.example}`")
        return v

    def check_keys(self, raw: CommentedMap, known: dict[str, Key], what: str) -> None:
        for key in raw:
            if key not in known:
                near = get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]}?" if near else "keys: " + ", ".join(known)
                self.fail(raw, key, f"{what} has no key {key}", hint)

    def name(self, raw: CommentedMap, key: Any, value: Any) -> str:
        if not isinstance(value, str) or not NAME.match(value):
            self.fail(raw, key, f"{value!r} is not a name", "lower-case letters, digits and '-', at most 63")
        return value

    def selector(self, raw: CommentedMap, key: str, text: str) -> None:
        try:
            Selector.parse(text)
        except ConfigError as e:
            self.fail(raw, key, e.message, e.hint)

    def expression(self, raw: CommentedMap, field: str, text: str, *, key: bool = False) -> None:
        try:
            (compile_key if key else compile_when)(text)
        except jmespath.exceptions.JMESPathError as e:
            self.fail(raw, field, f"not a JMESPath expression: {' '.join(str(e).split())}", "see https://jmespath.org")

    def fail(self, raw: CommentedMap | None, key: Any, message: str, hint: str) -> NoReturn:
        line, column = 1, 1
        if raw is not None:
            try:
                line, column = raw.lc.key(key) if key is not None else (raw.lc.line, raw.lc.col)
            except (KeyError, TypeError):
                line, column = raw.lc.line, raw.lc.col  # a key that came by an alias has no place of its own
            line, column = line + 1, column + 1
        raise PipelineError(
            f"{self.file}:{line}:{column}: {message}",
            hint=hint,
            file=self.file,
            line=line,
            column=column,
            key=str(key or ""),
        )


def without_beginning(steps: list[Step]) -> list[str]:
    """The steps that follow each other in a circle, or one that is not there: no event ever comes to them."""
    seen: set[str] = set()
    while more := {s.name for s in steps if s.name not in seen and seen.issuperset(s.after)}:
        seen |= more
    return [s.name for s in steps if s.name not in seen]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bool | type(None)):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


DEFAULT_LIMITS: dict[str, dict[str, Any]] = {
    kind: {f: getattr(limits, f) for f in limits.__struct_fields__}
    for kind, limits in (
        ("wasm", WasmTask(module="").limits),
        ("docker", DockerTask(image="").limits),
        ("process", ProcessTask(command=[]).limits),
    )
}
