"""Reading the configuration: defaults, the file, the environment, options; each value keeps its origin."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from agent.config.keys import Key, keys, sections
from agent.config.schema import DEFAULT_FILE, Config
from agent.config.units import parse_duration, parse_size, short
from agent.config.yamlfile import Entry, error_in, read_yaml
from agent.errors import ConfigError
from agent.model.labels import check_label

logger = logging.getLogger(__name__)

PREFIX = "EDGE_AGENT_"
OPTION_ALIASES = {"run": "--socket", "labels": "--label", "log.level": "--log-level"}
NEVER_EMPTY = frozenset({"state", "run"})
"""Paths for which an empty text would mean the current folder: a variable that is not set, say."""
NOT_KEYS = frozenset({"EDGE_AGENT_CONFIG", "EDGE_AGENT_DEBUG"})


def load_config(
    path: Path | str | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The configuration from defaults, a file, the environment and options (by dotted key).

    Without `path` the file is `EDGE_AGENT_CONFIG` or, where it exists, /etc/edge-agent/config.yaml.
    Later layers win; an option that is None does not count. Raises ConfigError with file, line, key, nearest name.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = find_file(path, environ)
    of_file = _from_file(file) if file is not None else ()
    for key, value, origin in chain(of_file, _from_environment(environ), _from_options(overrides or {})):
        values[key], origins[key] = value, origin
    return _assemble(values, origins)


def find_file(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    """The file that `load_config` reads, or None; raises ConfigError when a named one does not exist."""
    named = path or environ.get("EDGE_AGENT_CONFIG")
    if named:
        if not Path(named).exists() or Path(named).is_dir():
            raise ConfigError(f"there is no configuration file {named}", hint="check --config and EDGE_AGENT_CONFIG")
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(file: Path) -> Iterator[tuple[str, Any, str]]:
    for entry in read_yaml(file):
        yield from _entry(file, entry, "")


def _entry(file: Path, entry: Entry, prefix: str) -> Iterator[tuple[str, Any, str]]:
    name = prefix + entry.key
    if not prefix and entry.key in sections():
        if entry.value is None:
            return
        if not isinstance(entry.value, list) or not entry.is_map:
            raise _error(file, entry, name, f"{name} must be a map of keys", "indent its keys below it")
        for child in entry.value:
            yield from _entry(file, child, f"{name}.")
        return
    if name not in keys():
        raise _error(file, entry, name, f"unknown key {name}", nearest(name))
    try:
        yield name, convert(keys()[name], entry.plain()), f"{file}:{entry.line}"
    except ConfigError as e:
        raise _error(file, entry, name, e.message, e.hint) from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    known = {k.environment: k for k in keys().values()}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_KEYS:
            continue
        if variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            logger.warning("the environment variable %s sets nothing%s", variable, f"; {near[0]}?" if near else "")
            continue
        key = known[variable]
        try:
            yield key.name, convert(key, _from_text(key, text)), f"environment {variable}"
        except ConfigError as e:
            raise ConfigError(f"{variable}: {e.message}", hint=e.hint, key=key.name) from None


def _from_options(overrides: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for name, value in overrides.items():
        if value is None:
            continue
        if name not in keys():
            raise ConfigError(f"unknown key {name}", hint=nearest(name), key=name)
        option = OPTION_ALIASES.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))
        key = keys()[name]
        try:
            yield (name, convert(key, _from_text(key, value) if isinstance(value, str) else value), f"option {option}")
        except ConfigError as e:
            raise ConfigError(f"{option}: {e.message}", hint=e.hint, key=name) from None


def nearest(name: str) -> str:
    """A hint with the nearest known key, or where the list of keys is."""
    known = [*keys(), *sections()]
    last = {k.rpartition(".")[2]: k for k in known}
    near = difflib.get_close_matches(name, known, 1, 0.6)
    near = near or [last[n] for n in difflib.get_close_matches(name.rpartition(".")[2], last, 1, 0.75)]
    return f"did you mean {near[0]}?" if near else "docs/configuration.md lists every key"


def convert(key: Key, value: Any) -> Any:
    """The value as the key's type; raises ConfigError that names the expected type."""
    if key.name in NEVER_EMPTY and value == "":
        raise ConfigError(f"{key.name} is empty", hint="give a path, or leave it out for the default")
    if key.unit == "duration":
        value = parse_duration(value)
    elif key.unit == "size":
        value = parse_size(value)
    try:
        if key.name == "labels" and isinstance(value, dict):
            value = {str(k): _label_text(v) for k, v in value.items()}
            for k, v in value.items():
                check_label(k, v)
        return msgspec.convert(value, key.type, dec_hook=_decode)
    except msgspec.ValidationError as e:
        raise ConfigError(
            f"{key.name}: expected {key.type_name()}, found {short(value)}", hint=_why(key, str(e))
        ) from None


def _label_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value).expanduser() if str(value) else Path()
    raise msgspec.ValidationError(f"Expected `path`, got `{type(value).__name__}`")


def _why(key: Key, detail: str) -> str:
    if key.name == "name":
        return "letters, digits, '-', '_' and '.', at most 63"
    return detail.split(" - at", maxsplit=1)[0].replace("`str`", "text").replace("`int`", "a whole number").lower()


def _from_text(key: Key, text: str) -> Any:
    hint = get_args(key.type)[0] if get_origin(key.type) is Annotated else key.type
    match hint if isinstance(hint, type) else get_origin(hint):
        case t if t is bool and text.lower() in ("true", "false", "1", "0", "yes", "no"):
            return text.lower() in ("true", "1", "yes")
        case t if t in (int, float) and not key.unit:
            try:
                return t(text)
            except ValueError:
                return text
        case _:
            return _collection_from_text(get_origin(hint), text)


def _collection_from_text(origin: Any, text: str) -> Any:
    parts = [p.strip() for p in text.split(",") if p.strip()]
    if origin is list:
        return parts
    if origin is dict:
        if not all("=" in p for p in parts):
            raise ConfigError(f"{text!r} is not a list of key=value", hint="write it like camera=true,room=hall")
        return dict(p.split("=", 1) for p in parts)
    return text


def _error(file: Path, entry: Entry, key: str, message: str, hint: str) -> ConfigError:
    place = {"line": entry.line, "column": entry.column, "key": key}
    return error_in(file, f"{file}:{entry.line}: {message}", hint, **place)


def _assemble(values: dict[str, Any], origins: dict[str, str]) -> Config:
    top: dict[str, Any] = {"origins": origins}
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        (grouped.setdefault(section, {}) if section else top)[leaf] = value
    for section, struct in sections().items():
        if section in grouped:
            top[section] = struct(**grouped[section])
    config = Config(**top)
    if config.cameras_file == Path():
        config = msgspec.structs.replace(config, cameras_file=config.state / "cameras.yaml")
    return config
