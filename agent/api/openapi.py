"""The OpenAPI 3.1 document of the local API, made from the table of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from agent.api import requests, results
from agent.api.route import Route

Json = dict[str, Any]
PLAIN = (requests.Nothing, bytes)
"""Kinds of requests and answers that are not JSON."""


def document(routes: Sequence[Route]) -> Json:
    """The document of these routes."""
    from agent import __version__

    kinds = list(dict.fromkeys(k for r in routes for k in (r.asked, r.answer) if k not in PLAIN))
    made, components = msgspec.json.schema_components(
        [*kinds, results.Failed], ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip([*kinds, results.Failed], made, strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-agent",
            "version": __version__,
            "description": "The local API of one agent: HTTP on a unix socket. The kernel says which user asks.",
        },
        "servers": [{"url": "http://agent"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route, schemas: dict[Any, Json], components: dict[str, Any]) -> Json:
    made: Json = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', route.path.removeprefix('/v1')).rstrip('_')}",
        "summary": route.text,
        "description": "For operators." if route.operators else "For all users.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", route.path)
        ],
        "responses": {
            "200": {"description": "done", "content": _content(route, schemas)},
            "default": {
                "description": "not done",
                "content": {"application/json": {"schema": schemas[results.Failed]}},
            },
        },
    }
    if route.method == "GET" and route.asked not in PLAIN:
        fields: Json = components[route.asked.__name__]["properties"]
        made["parameters"] += [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    elif route.asked is bytes:
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif route.asked not in PLAIN:
        schema = {"schema": schemas[route.asked]}
        made["requestBody"] = {"content": {"application/json": schema, "application/msgpack": schema}}
    return made


def _content(route: Route, schemas: dict[Any, Json]) -> Json:
    if route.answer is bytes:
        return {"application/octet-stream": {}}
    schema = {"schema": schemas[route.answer]}
    made = {"application/json": schema} if route.whole else {}
    return made | ({"application/x-ndjson": schema} if route.rows else {})
