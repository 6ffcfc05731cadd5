"""Which words mean which source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.sources import FileSource, SyslogSource, open_source
from agent.sources.journald import JournaldSource
from agent.sources.logread import LogreadSource


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("/var/log/messages", FileSource),
        ({"file": "/var/log/messages", "from_start": True}, FileSource),
        ("journald", JournaldSource),
        ("logread", LogreadSource),
        ("udp://127.0.0.1:5514", SyslogSource),
        ({"syslog": "tcp://:5514"}, SyslogSource),
        ({"syslog": "tls://:6514"}, SyslogSource),
        (
            {"syslog": "tls://:6514", "certificate": "/c", "key": "/k", "client_ca": "/a", "connections": 9},
            SyslogSource,
        ),
        ({"syslog": "udp://[::1]:5514", "allow": ["192.168.1.0/24", "fe80::1"], "rate": 5}, SyslogSource),
    ],
)
def test_words_select_the_kind_of_source(spec: Any, kind: type, tmp_path: Path) -> None:
    assert type(open_source(spec, tmp_path)) is kind


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("messages", "absolute"),
        ({}, "not a source"),
        ({"file": 3}, "not a file"),
        ({"file": "/x", "from_strat": True}, "from_strat"),
        ({"syslog": "udp://"}, "not an address"),
        ({"syslog": "udp://:99999"}, "not an address"),
        ({"syslog": "http://:514"}, "not an address"),
        ({"syslog": "udp://:514", "allow": "10.0.0.0/8"}, "not a syslog receiver"),
        ({"syslog": "udp://:514", "allow": ["10.0.0.1/8"]}, "host bits"),
        ({"syslog": "udp://:514", "rate": 0}, "rate"),
        ({"syslog": "tcp://:514", "connections": 0}, "connections"),
        ({"syslog": "tcp://:514", "connections": 1.5}, "connections"),
        ({"syslog": "tls://:514", "certificate": "c", "key": "/k"}, "absolute"),
        ({"syslog": "tls://:514", "certificate": 3, "key": "/k"}, "absolute"),
        ({"syslog": "tls://:514", "key": "/k"}, "belong together"),
        ({"syslog": "tcp://:514", "certificate": "/c", "key": "/k"}, "tls://"),
    ],
)
def test_anything_else_is_an_error_with_a_hint(spec: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(spec, tmp_path)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_misspelt_key_gets_its_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source({"syslog": "udp://:5514", "alow": []}, tmp_path)
    assert "allow" in caught.value.hint


def test_auto_is_the_log_of_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.platforms import detect
    from agent.sources import opening

    monkeypatch.setattr(opening, "system_log", lambda: detect(tmp_path, {}).log_source)
    with pytest.raises(ConfigError):
        open_source("auto", tmp_path)
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/messages").touch()
    assert open_source("auto", tmp_path).name == str(tmp_path / "var/log/messages")
