"""The part of docs/pipelines.md that comes from the code: every key of a pipeline file with its default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from agent.config import format_duration, format_size
from agent.definitions.keys import Key, PipelineFile, keys_of, step_keys
from agent.model.step_kind import BY_KIND
from agent.steps import KINDS

FORMATS = {"duration": format_duration, "size": format_size}


def keys() -> str:
    """The tables of keys with type and default."""
    tasks = {kind: keys_of(KINDS[kind].task).values() for kind in KINDS}
    limits = {k.name: k for keys in tasks.values() for k in keys if k.group}
    tables = {"A pipeline": keys_of(PipelineFile).values(), "A step": step_keys(KINDS).values()}
    tables |= {f"`{kind}`": [k for k in keys if not k.group] for kind, keys in tasks.items() if keys}
    tables["Limits of `wasm`, `docker` and `process`"] = limits.values()
    tables["`dedupe` and `cooldown`"] = keys_of(step_keys(KINDS)["dedupe"].type).values()
    tables["`keep`"] = keys_of(keys_of(PipelineFile)["keep"].type).values()
    return "\n".join(_table(title, keys) for title, keys in tables.items())


def _table(title: str, keys: Iterable[Key]) -> str:
    rows = [f"### {title}", "", "| key | type | default | what it is | for example |", "|---|---|---|---|---|"]
    for k in keys:
        rows.append(f"| `{k.name}` | {k.expected} | {default(k)} | {k.meta.description} | `{k.example}` |")
    return "\n".join(rows) + "\n"


def default(key: Key) -> str:
    """The default for the table; one per kind of step if it depends on the kind."""
    if key.required:
        return "required"
    if key.group:
        tasks = {kind: keys_of(KINDS[kind].task) for kind in KINDS}
        return _by_kind({kind: _shown(key, keys[key.name].default) for kind, keys in tasks.items() if key.name in keys})
    if key.field in BY_KIND:
        return _by_kind({kind.name: _shown(key, getattr(kind, key.field)) for kind in KINDS.values()})
    return _shown(key, key.default)


def _by_kind(shown: dict[Any, str]) -> str:
    """The default of most kinds, then the others with their kinds."""
    kinds: dict[str, list[str]] = {}
    for kind, text in shown.items():
        kinds.setdefault(text, []).append(kind)
    most, *others = sorted(kinds, key=lambda text: -len(kinds[text]))
    return "; ".join([most, *(f"{', '.join(kinds[text])}: {text}" for text in others)])


def _shown(key: Key, value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        parts = [f"{k.name}: {FORMATS[k.form](k.default)}" for k in keys_of(type(value)).values()]
        return f"`{{{', '.join(parts)}}}`"
    if value in (None, "", [], {}):
        return "none" if value is None else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    shown = FORMATS[key.form](value) if key.form in FORMATS else f"{value:g}" if isinstance(value, float) else value
    return f"`{shown}`"
