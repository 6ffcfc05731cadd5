"""YAML 1.2 with the line of every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from agent.errors import ConfigError

MAX_FILE = 1 << 20
"""Largest configuration file in bytes."""
MAX_VALUES = 10_000
"""Most values in one file, aliases counted each time they are used."""


class Entry(msgspec.Struct):
    """One key of a map; `value` is a list of Entry where `is_map`, else plain data. Lines count from 1."""

    key: str
    value: Any
    line: int
    column: int
    is_map: bool = False

    def plain(self) -> Any:
        """The value as plain dicts and lists."""
        return {e.key: e.plain() for e in self.value} if self.is_map else self.value


def read_yaml(file: Path) -> list[Entry]:
    """The top map of a file; raises ConfigError with the line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        raw = file.read_bytes()
    except OSError as e:
        raise error_in(file, f"{file} cannot be read: {e.strerror}", "check its owner and mode") from e
    if len(raw) > MAX_FILE:
        raise error_in(file, f"{file} is larger than 1 MiB", "is this the configuration?")
    try:
        top = YAML(typ="rt").load(raw.decode())
    except UnicodeDecodeError as e:
        raise error_in(file, f"{file} is not UTF-8", "save it as UTF-8") from e
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 0
        problem = e.problem or "this is not YAML"
        raise error_in(file, f"{file}:{line}: {problem}", "check the indentation and quotes", line=line) from None
    except (YAMLError, ValueError, RecursionError) as e:
        raise error_in(file, f"{file} is not YAML: {str(e).splitlines()[0]}", "check its syntax") from None
    if top is None:
        return []
    if not isinstance(top, dict):
        raise error_in(file, f"{file}:1: a map of keys is expected", "write `key: value` lines", line=1)
    return _entries(top, [MAX_VALUES], file)


def error_in(file: Path, message: str, hint: str, **fields: Any) -> ConfigError:
    """The error about a configuration file; `fields` are more facts, like its line."""
    return ConfigError(message, hint=hint, file=str(file), **fields)


def _entries(node: Any, budget: list[int], file: Path) -> list[Entry]:
    out = []
    for key, value in node.items():
        line, column = node.lc.data[key][:2] if key in node.lc.data else (node.lc.line, node.lc.col)
        is_map = isinstance(value, dict)
        plain = _entries(value, budget, file) if is_map else _plain(value, budget, file)
        out.append(Entry(str(key), plain, line + 1, column + 1, is_map))
    return out


def _plain(value: Any, budget: list[int], file: Path) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise error_in(file, f"{file} holds more than {MAX_VALUES} values", "use fewer aliases")
    if isinstance(value, dict):
        return {str(k): _plain(v, budget, file) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, budget, file) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value if value is None else str(value)
