"""The JSON Schema of a pipeline file, for editors."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.definitions.keys import Key, PipelineFile, keys_of, step_keys
from agent.model.pipeline import NAME
from agent.model.step_kind import Kinds


def json_schema(kinds: Kinds) -> dict[str, Any]:
    """JSON Schema 2020-12 of a pipeline file with these kinds of steps."""
    keys = step_keys(kinds)
    name, step = (
        Annotated[str, Meta(pattern=NAME.pattern)],
        _mapping("step", keys, **{k: _body(keys[k]) for k in kinds}),
    )
    steps = Annotated[dict[name, step], keys_of(PipelineFile)["steps"].meta]  # type: ignore[valid-type]
    made = msgspec.json.schema(_mapping("pipeline", keys_of(PipelineFile), steps=steps))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge-agent pipeline", **made}


def _mapping(name: str, keys: dict[str, Key], **types: Any) -> Any:
    """A struct of the keys as they are written; `types` has those types that do not follow from their keys."""
    fields = []
    for k in keys.values():
        kind = types[k.name] if k.name in types else _written(k)
        known = k.default is not None and not isinstance(k.default, msgspec.Struct)
        if k.required:
            fields.append((k.field, kind, msgspec.field(name=k.name)))
        elif known:
            fields.append((k.field, kind, msgspec.field(name=k.name, default=k.default)))
        else:
            fields.append((k.field, kind | UnsetType, msgspec.field(name=k.name, default=UNSET)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _body(k: Key) -> Any:
    """The type of a kind's key: `sink:` alone is enough where no setting is required."""
    if k.struct is None or any(inner.required for inner in keys_of(k.struct).values()):
        return _written(k)
    return Annotated[_mapping(k.name, keys_of(k.struct)) | None, _about(k)]


def _written(k: Key) -> Any:
    match k.form:
        case "duration" | "size":
            return Annotated[str | Annotated[k.type, Meta(ge=k.meta.ge, le=k.meta.le)], _about(k)]
        case "texts" | "expressions":
            return Annotated[str | k.type, _about(k)]
    if k.struct is None:
        return Annotated[k.type, k.meta]
    return Annotated[_mapping(k.name, keys_of(k.struct)), _about(k)]


def _about(k: Key) -> Meta:
    """The words that editors show of the key, without the bounds of its loaded value."""
    return Meta(title=k.meta.title, description=k.meta.description, examples=k.meta.examples)
