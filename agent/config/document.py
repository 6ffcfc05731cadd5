"""The table of `docs/configuration.md` and the rows of `config show`, both made from the structs."""

from __future__ import annotations

from typing import Any

from agent.config.keys import keys, value_of
from agent.config.schema import Config


def table() -> str:
    """A Markdown table of every key with type, default and environment variable."""
    rows = ["| key | type | default | environment | what it does |", "|---|---|---|---|---|"]
    for key in keys().values():
        default = "the host's name" if key.name == "name" else _cell(key.show(key.default))
        cells = [f"`{key.name}`", key.type_name(), default, f"`{key.environment}`", key.description]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def show_config(config: Config) -> list[dict[str, Any]]:
    """Every key with its value and origin: rows of `key`, `value`, `origin`."""
    return [
        {"key": k.name, "value": k.show(value_of(config, k.name)), "origin": config.origin(k.name)}
        for k in keys().values()
    ]


def _cell(value: Any) -> str:
    match value:
        case "" | "." | [] | {}:
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case list():
            return f"`[{', '.join(map(str, value))}]`"
        case _:
            return f"`{value}`"
