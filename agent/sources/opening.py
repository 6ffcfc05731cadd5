"""Makes a source from its description in a pipeline or the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.platforms import system_log
from agent.sources.batch import LineSource
from agent.sources.file_source import FileSource
from agent.sources.journald import JournaldSource
from agent.sources.logread import LogreadSource
from agent.sources.syslog import KEYS, Reception, SyslogSource

_HINT = 'a path, auto, journald, logread, {file: PATH, from_start: true} or {syslog: "udp://:5514", allow: [192.168.1.0/24]}'
_KEYS = {"file": ("file", "from_start"), "syslog": KEYS}


def open_source(spec: str | Mapping[str, Any], state: Path, reception: Reception | None = None) -> LineSource:
    """The source of lines that `spec` names; it opens nothing before its batches are asked for.

    `auto` is the platform's log. Raises ConfigError for an invalid `spec`. `state` is for sources that keep files,
    `reception` for those that receive lines.
    """
    if isinstance(spec, str):
        return _named(spec, reception)
    for kind, keys in _KEYS.items():
        if kind in spec:
            _check_keys(spec, keys)
            return _file(spec) if kind == "file" else SyslogSource.of(spec, reception)
    raise ConfigError(f"{dict(spec)!r} is not a source of lines", hint=_HINT)


def _named(name: str, reception: Reception | None) -> LineSource:
    if name == "auto":
        found = system_log()
        if not found:
            raise ConfigError("no known log was found on this node", hint="set sources.tail to the path of a log file")
        return _named(found, reception)
    if name == "journald":
        return JournaldSource()
    if name == "logread":
        return LogreadSource()
    if name.startswith(("udp://", "tcp://", "tls://")):
        return SyslogSource.of({"syslog": name}, reception)
    try:
        path = Path(name).expanduser()
    except RuntimeError as e:
        raise ConfigError(f"{name!r} cannot be found: {e}", hint="write an absolute path") from None
    if not path.is_absolute():
        raise ConfigError(f"{name!r} is neither an absolute path nor a source of lines", hint=_HINT)
    return FileSource(path)


def _file(spec: Mapping[str, Any]) -> LineSource:
    path, from_start = spec["file"], spec.get("from_start", False)
    if not isinstance(path, str) or not path.startswith("/") or not isinstance(from_start, bool):
        raise ConfigError(f"{dict(spec)!r} is not a file to follow", hint=_HINT)
    return FileSource(Path(path), from_start=from_start)


def _check_keys(spec: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in spec:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
            raise ConfigError(f"{key!r} is not a key of a source", hint=hint)
