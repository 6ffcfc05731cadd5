"""Durations and sizes as people write them: `30s`, `5m`, `1h30m`; `64MiB`, `5GB`."""

from __future__ import annotations

import re

from agent.errors import ConfigError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
MAX_SECONDS = 100 * 366 * 86400.0
"""A century: a longer duration is a mistake, and timers, dates and databases may not take it."""
MAX_BYTES = 1 << 50
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\Z")


def parse_duration(value: object) -> float:
    """Seconds of a duration up to MAX_SECONDS; a bare number is seconds. Raises ConfigError."""
    seconds = _seconds(value)
    if seconds is not None and 0 <= seconds <= MAX_SECONDS:
        return float(seconds)
    what = "is longer than a century" if seconds is not None and seconds > 0 else "is not a duration"
    raise ConfigError(f"{short(value)} {what}", hint="write it like 500ms, 30s, 5m, 1h30m or 7d")


def _seconds(value: object) -> float | None:
    """The seconds of a value of any size; None where it is not a duration."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            return float(text)
        parts = _PART.findall(text)
        if parts and _PART.sub("", text).strip() == "":
            return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return None


def parse_size(value: object) -> int:
    """Bytes of a size up to MAX_BYTES; a bare number is bytes. Raises ConfigError."""
    count: float | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    elif isinstance(value, str) and (m := _SIZE.match(value.strip())) and m[2] in _BYTES:
        count = float(m[1]) * _BYTES[m[2]]
    if count is not None and 0 <= count <= MAX_BYTES:
        return int(count)
    what = "is larger than 1024 TiB" if count is not None and count > 0 else "is not a size"
    raise ConfigError(f"{short(value)} {what}", hint="write it like 512KiB, 64MiB or 5GB")


def short(value: object) -> str:
    """The value for a message; a whole number of thousands of digits cannot even be printed."""
    if isinstance(value, int) and abs(value) > 10**50:
        return "the number"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def format_duration(seconds: float) -> str:
    """The shortest exact way to write a duration: `1h30m`, `500ms`."""
    if seconds == 0:
        return "0s"
    if seconds < 1 or seconds % 1:
        milliseconds = round(seconds * 1000)
        return f"{milliseconds}ms" if milliseconds < 60_000 else f"{seconds:g}s"
    rest, out = int(seconds), ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        out += f"{count}{unit}" if count else ""
    return out


def format_size(size: int) -> str:
    """A size in the largest unit that divides it, else rounded to one decimal: `64MiB`, `5GB`, `1.5MiB`."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if 0 < size < _BYTES[unit] * 10_000 and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f}{unit}"
    return f"{size}B"
