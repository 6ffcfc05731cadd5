"""The archive of a bug report: its redaction and its file."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import re
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.health import redact
from agent.model.mac import MAC_IN_TEXT

FOLDER = "edge-agent-bugreport"
MAX_PART = 8 << 20
"""Most bytes of one part; the end of a longer one is kept."""
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(r"(?<![0-9A-Fa-f:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Fa-f:.])")
_HIDDEN_KEYS = re.compile(r"(?i)(pass(word|wd)?|secret|token|private_key|authorization|webhook)\Z")


class Redaction:
    """Hides secrets, devices and public addresses; equal inputs get equal replacements within one archive."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """`names` are the names of devices that people gave, with the MAC of each."""
        self._devices: dict[str, str] = {}
        self._names = {name: self._device(mac) for name, mac in names.items()}
        longest = sorted(self._names, key=len, reverse=True)
        self._named = re.compile("|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in longest)) if longest else None

    def text(self, text: str) -> str:
        """A text as it may leave the building."""
        text = MAC_IN_TEXT.sub(lambda m: self._device(m[0]), redact(text))
        if self._named is not None:
            text = self._named.sub(lambda m: self._names[m[0]], text)
        return _IPV6.sub(_address, _IPV4.sub(_address, text))

    def value(self, value: Any) -> Any:
        """The same for JSON, keys included."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(k)): self._member(str(k), v) for k, v in value.items()}
            case list():
                return [self.value(v) for v in value]
        return value

    def _member(self, key: str, value: Any) -> Any:
        return "…" if isinstance(value, str) and value and _HIDDEN_KEYS.search(key) else self.value(value)

    def _device(self, mac: str) -> str:
        plain = re.sub(r"[^0-9a-f]", "", mac.lower())
        return self._devices.setdefault(plain, f"device-{len(self._devices) + 1}")


def _address(found: re.Match[str]) -> str:
    try:
        ip = ipaddress.ip_address(found[0])
    except ValueError:
        return found[0]
    return "[public address]" if ip.is_global else found[0]


def write_archive(file: Path, parts: Mapping[str, Any], redaction: Redaction) -> int:
    """Write the parts (texts as they are, everything else as JSON), redacted, to a new file of mode 0600; returns its size.

    The file appears whole or not at all. Raises ConfigError where it cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name, part in parts.items():
                _add(archive, name, part, redaction)
        partial.replace(file)
    except OSError as e:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ConfigError(
            f"{file} cannot be written: {e.strerror}", hint="choose another place with --output"
        ) from None
    return file.stat().st_size


def _add(archive: tarfile.TarFile, name: str, part: Any, redaction: Redaction) -> None:
    if isinstance(part, str):
        text = redaction.text(part)
    else:
        name, text = f"{name}.json", json.dumps(redaction.value(part), indent=2, ensure_ascii=False, default=str)
    data = text.encode(errors="replace")[-MAX_PART:]
    entry = tarfile.TarInfo(f"{FOLDER}/{name}")
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(data))
