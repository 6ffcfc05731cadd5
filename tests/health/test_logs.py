"""Logs: one line a record, no secrets, priorities for journald."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import LogConfig
from agent.health.logs import MAX_LINE, Formatter, redact, setup_logging


def record(message: str, *args: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("agent.mesh", level, "f.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


@pytest.fixture
def clean_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_text_has_level_package_message_and_fields() -> None:
    line = Formatter("text", journal=False).format(record("linked to %s", "porch", peer="a b", ms=3))
    assert line.endswith('INFO    mesh: linked to porch peer="a b" ms=3')
    assert line[:4].isdigit()


def test_json_is_one_object_a_line() -> None:
    line = Formatter("json", journal=False).format(record("a\nb", peer="porch"))
    row = json.loads(line)
    assert "\n" not in line
    assert (row["level"], row["logger"], row["message"], row["peer"]) == ("info", "agent.mesh", "a\nb", "porch")


def test_journald_gets_a_priority_and_no_time() -> None:
    line = Formatter("text", journal=True).format(record("x", level=logging.ERROR))
    assert line == "<3>ERROR   mesh: x"


def test_a_message_cannot_forge_a_second_line() -> None:
    line = Formatter("text", journal=False).format(record("joined %s", "evil\nERROR   mesh: all is lost"))
    assert "\n" not in line


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    line = Formatter("text", journal=False).format(made)
    assert "\n" not in line
    assert "RuntimeError: boom" in line


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("c2VjcmV0c2VjcmV0", "joined with edge1.c2VjcmV0c2VjcmV0"),
        ("hunter2", "opening rtsp://admin:hunter2@10.0.0.4/stream"),
        ("abcdef0123456789", "Authorization: Bearer abcdef0123456789"),
        ("s3cr3t!", '{"password": "s3cr3t!"}'),
        ("s3cr3t!", "api_key=s3cr3t!&x=1"),
        ("MIGHAgEA", "-----BEGIN EC PRIVATE KEY-----\nMIGHAgEA\n-----END EC PRIVATE KEY-----"),
        ("123456789012", "slack xoxb-123456789012"),
    ],
)
def test_secrets_are_taken_out(secret: str, text: str) -> None:
    assert secret not in redact(text)
    for style in ("text", "json"):
        assert secret not in Formatter(style, journal=False).format(record(text))
        assert secret not in Formatter(style, journal=False).format(record("x", field=text))


def test_ordinary_words_stay() -> None:
    text = "token t1 revoked; the password file is missing; http://10.0.0.4:8080/a@b"
    assert redact(text) == text


def test_a_line_has_an_end() -> None:
    assert len(Formatter("text", journal=False).format(record("x" * 100_000))) <= MAX_LINE + 4


def test_setting_up_twice_writes_each_line_once(clean_root: None) -> None:
    stream = io.StringIO()
    setup_logging(LogConfig(level="debug"), stream=io.StringIO())
    setup_logging(LogConfig(level="debug"), stream=stream)
    logging.getLogger("agent.test").debug("once")
    assert stream.getvalue().count("once") == 1


def test_priorities_come_only_when_stderr_is_the_journal(tmp_path: Path) -> None:
    code = "import logging; from agent.health import setup_logging; setup_logging(); "
    code += "logging.getLogger('agent.x').info('hi')"
    with (tmp_path / "journal").open("wb") as journal:
        stat = os.fstat(journal.fileno())
        for stream in (f"{stat.st_dev}:{stat.st_ino}", "1:1"):
            environ = {**os.environ, "JOURNAL_STREAM": stream}
            subprocess.run([sys.executable, "-c", code], stderr=journal, check=True, env=environ)
    first, second = (tmp_path / "journal").read_text().splitlines()
    assert first == "<6>INFO    x: hi"
    assert second.endswith("Z INFO    x: hi")
