"""The keys of a pipeline file, read from the structs of `agent/model`: a field with a `Meta` is a key."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from agent.config import parse_duration, parse_size
from agent.definitions.expressions import compile_expression
from agent.model.keys import key
from agent.model.pipeline import MAX_STEPS, NAME, Keep, Step
from agent.model.placement import selector
from agent.model.step_kind import BY_KIND, Kinds, StepKind, without_meta

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list[str]: "a list of strings",
    dict[str, str]: "a mapping of strings",
}
_STEPS = {"wifi": {"tail": "auto", "wasm": {"module": "edge/wifi-join"}}}
_PARSED: dict[str, Callable[[Any], Any]] = {
    "duration": parse_duration,
    "size": parse_size,
    "texts": lambda v: [v] if isinstance(v, str) else v,
    "expressions": lambda v: [v] if isinstance(v, str) else v,
}


class PipelineFile(msgspec.Struct):
    """The top of a pipeline file."""

    version: Annotated[int, key("version of this format: 1", 1, extra_json_schema={"const": 1})]
    name: Annotated[
        str, key("the pipeline's name, unique in the mesh", "person-at-the-door", "a name", pattern=NAME.pattern)
    ]
    steps: Annotated[dict[str, Any], key("the steps by name", _STEPS, min_length=1, max_length=MAX_STEPS)]
    keep: Annotated[Keep, key("how long photos stay on the nodes", {"matched": "7d", "unmatched": 0})] = Keep()


class Key(msgspec.Struct, frozen=True):
    """One key; `type` is that of the loaded value, which goes to `field`, within the struct `group` where it has one."""

    name: str
    field: str
    type: Any
    meta: msgspec.Meta
    default: Any
    group: str = ""

    @property
    def required(self) -> bool:
        """Whether a file must have it."""
        return self.default is msgspec.NODEFAULT

    @property
    def form(self) -> str:
        """How the value is written: `duration`, `size`, `texts`, `expression`, `expressions`, `selector` or as its type."""
        form: str = (self.meta.extra or {})["form"]
        return form

    @property
    def expected(self) -> str:
        """The allowed values, in words."""
        if get_origin(self.type) is Literal:
            *most, last = get_args(self.type)
            return f"{', '.join(most)} or {last}"
        return self.meta.title or _WORDS.get(self.type, "a mapping")

    @property
    def example(self) -> str:
        """The key with an example, as YAML."""
        from ruamel.yaml import YAML

        yaml, text = YAML(), io.StringIO()
        yaml.default_flow_style, yaml.width = True, 1000
        yaml.dump({self.name: (self.meta.examples or [None])[0]}, text)
        return text.getvalue().strip()[1:-1]

    @property
    def struct(self) -> type[msgspec.Struct] | None:
        """The struct of a mapping that has keys."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, msgspec.Struct) else None

    def convert(self, value: Any) -> Any:
        """The written value as its field holds it, a mapping as a dict; raises msgspec.ValidationError or ConfigError."""
        parse = _PARSED.get(self.form)
        return msgspec.convert(parse(value) if parse else value, dict[str, Any] if self.struct else self.type)

    def beyond(self, value: Any) -> str:
        """Which bound of the key a number is beyond: `too small`, `too large` or nothing."""
        low, high = self.meta.ge, self.meta.le
        if not isinstance(value, int | float):
            return ""
        if low is not None and not value >= low:
            return "too small"
        return "too large" if high is not None and not value <= high else ""

    @property
    def bounds(self) -> str:
        """The bounds of a number, for a hint; nothing where it has none on both sides, or is written with a unit."""
        low, high = self.meta.ge, self.meta.le
        return f"{low:g} to {high:g}, " if low is not None and high is not None and not self.form else ""

    def check(self, value: Any) -> None:
        """Raise ConfigError or JMESPathError for an invalid selector or expression."""
        if self.form == "selector":
            selector(value)
        elif self.form == "expression" and value:
            compile_expression(value)
        elif self.form == "expressions":
            for expression in value:
                compile_expression(expression)


@cache
def keys_of(struct: type[msgspec.Struct]) -> dict[str, Key]:
    """The keys of a mapping in the file. A field that is a struct without a `Meta` has its keys beside the others."""
    made: list[Key] = []
    for f in msgspec.structs.fields(struct):
        default = f.default if f.default_factory is msgspec.NODEFAULT else f.default_factory()
        if get_origin(f.type) is Annotated:
            kind, meta = get_args(f.type)
            kind = next((t for t in get_args(kind) if t is not type(None)), kind) if default is None else kind
            made.append(Key(meta.extra["name"] or f.name, f.name, kind, meta, default))
        elif isinstance(f.type, type) and issubclass(f.type, msgspec.Struct) and isinstance(default, msgspec.Struct):
            inner = keys_of(f.type).values()
            made += [Key(k.name, k.field, k.type, k.meta, getattr(default, k.field), f.name) for k in inner]
    return {k.name: k for k in made}


@cache
def step_keys(kinds: Kinds) -> dict[str, Key]:
    """The keys of a step, the kinds among them. A default that depends on the kind is None."""
    common = {
        k.name: msgspec.structs.replace(k, default=None) if k.field in BY_KIND else k for k in keys_of(Step).values()
    }
    return common | {kind.name: _kind_key(kind) for kind in kinds.values()}


def _kind_key(kind: StepKind) -> Key:
    types = {f.name: without_meta(f.type) for f in msgspec.structs.fields(kind.task)}
    return Key(kind.name, kind.name, types.get(kind.value, kind.task), kind.about, None)
