"""Structured logs on stderr: text with key=value, or JSON lines; priorities where journald listens; no
secrets.

`<N>` prefixes are sd-daemon(3)'s; `JOURNAL_STREAM` is set by systemd when stderr goes to the journal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from agent.config import LogConfig
from agent.model.event import rfc3339

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"\bedge\d\.[A-Za-z0-9_\-.]{8,}"), "edge1.…"),
    (re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"), "…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 …"),
    (
        re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key|authorization)(\"?\s*[=:]\s*\"?)[^\s\"',;&]{4,}"),
        r"\1\2…",
    ),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        "[private key]",
    ),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{8,}"), "xox…"),
)
MAX_LINE = 8192
"""Longest log line in characters."""


def redact(text: str) -> str:
    """The text without likely secrets: tokens, passwords in URLs, keys, bearer headers."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class Formatter(logging.Formatter):
    """One line per record: `text` (`LEVEL module: message key=value`) or `json`; secrets redacted."""

    def __init__(self, style: str, *, journal: bool) -> None:
        super().__init__()
        self._json = style == "json"
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}
        fields = {k: redact(str(v)) for k, v in fields.items()}
        message = redact(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = redact(self.formatException(record.exc_info))
        line = self._as_json(record, message, fields) if self._json else self._as_text(record, message, fields)
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>" if self._journal else ""
        return prefix + redact(line)[:MAX_LINE]

    def _as_json(self, record: logging.LogRecord, message: str, fields: Mapping[str, Any]) -> str:
        row = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        return json.dumps(row | dict(fields), ensure_ascii=False)

    def _as_text(self, record: logging.LogRecord, message: str, fields: Mapping[str, Any]) -> str:
        trace = fields.get("exception", "")
        words = [f"{k}={_quoted(v)}" for k, v in fields.items() if k != "exception"]
        module = record.name.removeprefix("agent.")
        head = [] if self._journal else [rfc3339(record.created)]
        line = " ".join([*head, f"{record.levelname:<7}", f"{module}:", _one_line(message), *words])
        return line + ("".join(f" | {part}" for part in str(trace).splitlines()) if trace else "")


def setup_logging(
    config: LogConfig | None = None, *, stream: TextIO | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """Make the root logger write to stderr as configured. Another call replaces the earlier set-up."""
    config = config or LogConfig()
    stream = stream or sys.stderr
    environ = os.environ if environ is None else environ
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(config.format, journal=_to_journal(stream, environ) and config.format != "json"))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h.formatter, Formatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore", "docker", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stat.st_dev), str(stat.st_ino))


def _one_line(text: str) -> str:
    return (
        text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") if "\n" in text or "\r" in text else text
    )


def _quoted(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)
