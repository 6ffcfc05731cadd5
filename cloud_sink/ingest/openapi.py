"""The ingest interface as OpenAPI, made from the structs that it decodes."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.model.alert import Alert, Hello, StatusSummary

_REF = "#/components/schemas/{name}"
_ANSWERS = {
    "401": "the key is unknown or revoked",
    "403": "the key belongs to another mesh",
    "408": "the body did not arrive in time",
    "413": "too large",
    "422": "malformed, without a valid signature, or with an invalid photo; sending the same bytes again does not help",
    "429": "too many requests; Retry-After says how long to wait",
}


def described(kind: type) -> dict[str, Any]:
    """The OpenAPI description of a route whose body is this struct as msgpack (bytes are bytes there, not base64)."""
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return {
        "requestBody": {"required": True, "content": {"application/msgpack": {"schema": schema}}},
        "security": [{"key": []}],
        "responses": {status: {"description": text} for status, text in _ANSWERS.items()},
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the structs and the key that the routes refer to."""
    _, structs = msgspec.json.schema_components([Alert, StatusSummary, Hello], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(structs)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document
