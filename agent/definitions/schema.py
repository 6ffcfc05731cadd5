"""The JSON Schema of a pipeline file and the table of its keys, both from `keys.py`."""

from __future__ import annotations

from typing import Any

from agent.definitions.keys import EXECUTORS, LIMITS, PIPELINE_KEYS, STEP_KEYS, TASK_KEYS, Key

_TYPES: dict[str, dict[str, Any]] = {
    "a number": {"type": "number"},
    "a selector": {"type": "string"},
    "a name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
    "a path": {"type": "string"},
    "an image": {"type": "string"},
    "a JMESPath expression": {"type": "string"},
    "duration": {"type": ["string", "number"], "description": "30s, 5m, 2h, 7d"},
    "size": {"type": ["string", "integer"], "description": "64MiB, 5GB"},
    "a list of strings": {"type": "array", "items": {"type": "string"}},
    "a list of names": {"type": "array", "items": {"type": "string"}},
    "a list of event types": {"type": "array", "items": {"type": "string"}},
    "a mapping of strings": {"type": "object", "additionalProperties": {"type": "string"}},
    "a step or a list of steps": {"type": ["string", "array"], "items": {"type": "string"}},
    "a JMESPath expression or a list of them": {"type": ["string", "array"], "items": {"type": "string"}},
    "all, one or here": {"enum": ["all", "one", "here"]},
    "labelled or none": {"enum": ["labelled", "none"]},
    "a path, auto, journald, logread or {syslog: …}": {"type": ["string", "object"]},
    "a mapping": {"type": "object"},
}
_WITH_LIMITS = ("wasm", "docker", "process")
_NESTED = {"dedupe": "window", "cooldown": "window", "keep": "keep"}


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a pipeline file."""
    properties = {}
    for name, key in STEP_KEYS.items():
        table = _NESTED.get(name, name)
        properties[name] = _object(_keys(table)) if table in TASK_KEYS else _one(key)
        if name in EXECUTORS and "required" not in properties[name] and name in TASK_KEYS:
            properties[name]["type"] = ["object", "null"]  # `sink:` alone is enough
    step = {"type": "object", "additionalProperties": False, "properties": properties}
    made = _object(PIPELINE_KEYS)
    made["properties"]["version"] = {"const": 1}
    made["properties"]["steps"] = {"type": "object", "minProperties": 1, "additionalProperties": step}
    made["properties"]["keep"] = _object(TASK_KEYS["keep"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge-agent pipeline", **made}


def _keys(table: str) -> dict[str, Key]:
    return {**TASK_KEYS[table], **(LIMITS if table in _WITH_LIMITS else {})}


def _object(keys: dict[str, Key]) -> dict[str, Any]:
    required = [k.key for k in keys.values() if k.required]
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _one(key) for name, key in keys.items()},
    }
    if required:
        made["required"] = required
    return made


def _one(key: Key) -> dict[str, Any]:
    made = {**_TYPES[key.type], "description": key.text}
    if key.type == "a number":
        made |= {"minimum": key.least, "maximum": key.most}
    return made


def markdown() -> str:
    """The table of every key with type and default, for the docs."""
    parts = [_table("A pipeline", PIPELINE_KEYS), _table("A step", STEP_KEYS)]
    parts += [_table(f"`{kind}`", TASK_KEYS[kind]) for kind in EXECUTORS if kind in TASK_KEYS]
    parts += [_table("Limits of `wasm`, `docker` and `process`", LIMITS)]
    parts += [_table("`dedupe` and `cooldown`", TASK_KEYS["window"]), _table("`keep`", TASK_KEYS["keep"])]
    return "\n".join(parts)


def _table(title: str, keys: dict[str, Key]) -> str:
    rows = [f"### {title}", "", "| key | type | default | what it is | for example |", "|---|---|---|---|---|"]
    for key in keys.values():
        default = "required" if key.required else _default(key)
        example = f"`{key.key}: {key.example}`" if key.example != "…" else ""
        rows.append(f"| `{key.key}` | {key.type} | {default} | {key.text} | {example} |")
    return "\n".join(rows) + "\n"


def _default(key: Key) -> str:
    if key.default in (None, "", [], {}):
        return ""
    return f"{key.default:g} s" if key.type == "duration" else f"`{key.default}`"
