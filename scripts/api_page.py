"""The generated parts of docs/api.md: the table of routes, and the fields of requests and answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agent.api.openapi import PLAIN, document
from agent.api.route import Route
from agent.api.routes import ROUTES

Json = dict[str, Any]
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
}


def routes() -> str:
    """A Markdown table of all routes."""
    components: Json = document(ROUTES)["components"]["schemas"]
    rows = ["| route | what it does | body | answer | who |", "|---|---|---|---|---|"]
    for route in ROUTES:
        cells = [
            _path(route, components),
            route.text,
            _body(route),
            _answer(route),
            "operators" if route.operators else "all",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def fields() -> str:
    """A Markdown section for each struct of a request or an answer, by name."""
    components: Json = document(ROUTES)["components"]["schemas"]
    queries = {r.asked.__name__ for r in ROUTES if r.method == "GET"}
    return "\n".join(_struct(name, s) for name, s in sorted(components.items()) if name not in queries)


def _path(route: Route, components: Json) -> str:
    keys = components[route.asked.__name__]["properties"] if route.method == "GET" and route.asked not in PLAIN else ()
    return f"`{route.method} {route.path}{'?' if keys else ''}{'&'.join(keys)}`"


def _body(route: Route) -> str:
    if route.asked is bytes:
        return "bytes"
    return "" if route.method == "GET" or route.asked in PLAIN else _link(route.asked.__name__)


def _answer(route: Route) -> str:
    text = _kind(next(iter(document([route])["paths"][route.path].values()))["responses"]["200"])
    if route.rows:
        return f"{text}, or lines of it" if route.whole else f"lines of {text}"
    return text


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _kind(answer: Json) -> str:
    schema = next(iter(answer["content"].values())).get("schema")
    return _type(schema) if schema is not None else "bytes"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(s) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{v}`" for v in schema["enum"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])} {_type(schema['prefixItems'][0])}s"
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object" if schema.get("additionalProperties"):
            return f"map of text to {_type(schema['additionalProperties'])}"
        case "string" if "contentEncoding" in schema:
            return "bytes"
        case None:
            return "any"
        case kind:
            return WORDS[kind]


def _struct(name: str, schema: Json) -> str:
    rows = [f"#### {name}", schema.get("description", ""), "", "| field | type | meaning |", "|---|---|---|"]
    for key, field in schema["properties"].items():
        optional = "" if key in schema.get("required", ()) else "?"
        about = ", ".join(filter(None, (field.get("description", ""), _limits(field), _default(field))))
        about = about.replace("|", "\\|")
        rows.append(f"| `{key}`{optional} | {_type(field)} | {about} |")
    return "\n".join(rows) + "\n"


def _limits(field: Json) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    words = [f"from {low:g}" if low is not None else "", f"above {above:g}" if above is not None else ""]
    words.append(f"to {field['maximum']:g}" if "maximum" in field else "")
    return " ".join(filter(None, words))


def _default(field: Json) -> str:
    default = field.get("default")
    return f"default {default!r}".replace("'", "`") if default not in (None, "", [], {}, 0, 0.0, False) else ""
