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
        raise ConfigError(
            f"{file} cannot be read: {e.strerror}", hint="check its owner and mode", file=str(file)
        ) from e
    if len(raw) > MAX_FILE:
        raise ConfigError(f"{file} is larger than 1 MiB", hint="is this the configuration?", file=str(file))
    try:
        top = YAML(typ="rt").load(raw.decode())
    except UnicodeDecodeError as e:
        raise ConfigError(f"{file} is not UTF-8", hint="save it as UTF-8", file=str(file)) from e
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 0
        raise ConfigError(
            f"{file}:{line}: {e.problem or 'this is not YAML'}",
            hint="check the indentation and quotes",
            file=str(file),
            line=line,
        ) from None
    except (YAMLError, ValueError, RecursionError) as e:
        raise ConfigError(
            f"{file} is not YAML: {str(e).splitlines()[0]}", hint="check its syntax", file=str(file)
        ) from None
    if top is None:
        return []
    if not isinstance(top, dict):
        raise ConfigError(
            f"{file}:1: a map of keys is expected", hint="write `key: value` lines", file=str(file), line=1
        )
    return _entries(top, [MAX_VALUES], file)


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
        raise ConfigError(f"{file} holds more than {MAX_VALUES} values", hint="use fewer aliases", file=str(file))
    if isinstance(value, dict):
        return {str(k): _plain(v, budget, file) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, budget, file) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value if value is None else str(value)
