"""The book's file: YAML, mode 0600 because sources hold credentials, replaced atomically."""

from __future__ import annotations

import io
import logging
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.cameras.spec import Camera, check_camera, check_name, normal_source
from agent.errors import ConfigError
from agent.files import write_private

logger = logging.getLogger(__name__)

MAX_FILE = 256 * 1024
_HEAD = "# Cameras of this node. It holds credentials: keep it 0600. `edge-agent camera add` and `remove` rewrite it.\n"
_FIELDS = [field.name for field in msgspec.structs.fields(Camera)]


def load_book(path: Path) -> dict[str, Camera]:
    """The cameras in the file, none where it is missing; raises ConfigError with file, line and hint."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}", hint="it must belong to the agent's user") from e
    with os.fdopen(fd, "rb") as f:
        if os.fstat(fd).st_mode & 0o077:
            logger.warning("%s was readable by others; set to 0600", path)
            os.fchmod(fd, 0o600)
        text = f.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise ConfigError(f"{path} is larger than {MAX_FILE} bytes", hint="is it a list of cameras?")
    try:
        lines = YAML(typ="rt").load(text.decode())  # keeps the line of each key
        content = YAML(typ="safe").load(text.decode())
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 0
        raise ConfigError(f"{path}:{line}: {e.problem}", hint="correct the YAML", file=str(path), line=line) from e
    except (YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not YAML", hint="correct it or remove it") from e
    return _cameras(path, content, lines)


def _cameras(path: Path, content: Any, lines: Any) -> dict[str, Camera]:
    if content is None:
        return {}
    if (
        not isinstance(content, dict)
        or set(content) - {"cameras"}
        or not isinstance(content.get("cameras") or {}, dict)
    ):
        raise ConfigError(f"{path}: it must hold one mapping, `cameras`", hint="cameras: {hall: {source: /dev/video0}}")
    entries = content.get("cameras") or {}
    return {
        str(name): _camera(path, entries[name], str(name), lines["cameras"].lc.key(name)[0] + 1) for name in entries
    }


def _camera(path: Path, entry: Any, name: str, line: int) -> Camera:
    where = f"{path}:{line}: camera {name}"
    fields: dict[str, Any] = {"file": str(path), "line": line}
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a mapping", hint="hall: {source: /dev/video0}", **fields)
    for key in entry:
        if key not in _FIELDS:
            near = get_close_matches(str(key), _FIELDS, 1)
            hint = f"do you mean {near[0]}?" if near else f"keys are {', '.join(_FIELDS)}"
            raise ConfigError(f"{where}: there is no key {key!r}", hint=hint, **fields)
    try:
        check_name(name)
        camera = msgspec.convert(entry, Camera)
        camera = msgspec.structs.replace(camera, source=normal_source(camera.source))
        check_camera(camera)
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {e}", hint=f"keys are {', '.join(_FIELDS)}", **fields) from e
    except ConfigError as e:
        raise ConfigError(f"{where}: {e.message}", hint=e.hint, **fields) from e
    return camera


def save_book(path: Path, cameras: dict[str, Camera]) -> None:
    """Write the file atomically, 0600. Raises ConfigError."""
    yaml = YAML(typ="rt")
    yaml.default_flow_style = None
    text = io.StringIO(_HEAD)
    text.seek(0, io.SEEK_END)
    yaml.dump({"cameras": {name: msgspec.to_builtins(camera) for name, camera in cameras.items()}}, text)
    try:
        write_private(path, text.getvalue().encode())
    except OSError as e:
        raise ConfigError(f"{path} cannot be written: {e.strerror}", hint="is the disk full or read-only?") from e
