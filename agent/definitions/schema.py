"""The JSON Schema of a pipeline file, for editors."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.definitions.keys import Key, PipelineFile, keys_of, step_keys
from agent.model.pipeline import KINDS, NAME


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a pipeline file."""
    name, step = Annotated[str, Meta(pattern=NAME.pattern)], _mapping("step", step_keys())
    steps = dict[name, step]  # type: ignore[valid-type]
    made = msgspec.json.schema(_mapping("pipeline", keys_of(PipelineFile), steps=steps))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge-agent pipeline", **made}


def _mapping(name: str, keys: dict[str, Key], **types: Any) -> Any:
    """A struct of the keys as they are written; `types` has those types that the loader's structs do not name."""
    fields = []
    for k in keys.values():
        kind = Annotated[types[k.name], k.meta] if k.name in types else _written(k)
        known = k.default is not None and not isinstance(k.default, msgspec.Struct)
        if k.required:
            fields.append((k.field, kind, msgspec.field(name=k.name)))
        elif known:
            fields.append((k.field, kind, msgspec.field(name=k.name, default=k.default)))
        else:
            fields.append((k.field, kind | UnsetType, msgspec.field(name=k.name, default=UNSET)))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _written(k: Key) -> Any:
    about = Meta(title=k.meta.title, description=k.meta.description, examples=k.meta.examples)
    match k.form:
        case "duration" | "size":
            return Annotated[str | Annotated[k.type, Meta(ge=k.meta.ge, le=k.meta.le)], about]
        case "texts" | "expressions":
            return Annotated[str | k.type, about]
        case "source":
            return Annotated[str | dict[str, Any], about]
    if k.struct is None:
        return Annotated[k.type, k.meta]
    inner = keys_of(k.struct)
    body = _mapping(k.name, inner)
    empty = k.name in KINDS and not any(i.required for i in inner.values())  # `sink:` alone is enough
    return Annotated[body | None if empty else body, about]
