"""The zone of hosts on which the C library does not know it, from OpenWrt's own files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.platforms import use_host_zone

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
SYSTEM = "config system\n\toption hostname 'attic'\n\toption zonename 'Europe/Berlin'\n\toption timezone '{}'\n"


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TZ", raising=False)
    yield
    os.environ.pop("TZ", None)
    monkeypatch.undo()
    time.tzset()


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "zone"),
    [
        ({}, ""),
        ({"etc/TZ": BERLIN + "\n"}, BERLIN),
        ({"etc/TZ": "<+03>-3\n"}, "<+03>-3"),
        ({"etc/config/system": SYSTEM.format(BERLIN)}, BERLIN),
        ({"etc/TZ": "", "etc/config/system": SYSTEM.format(BERLIN)}, BERLIN),
        ({"etc/config/system": "\toption zonename 'Europe/Berlin'\n", "usr/share/zoneinfo/Europe/Berlin": ""}, "Europe/Berlin"),
        ({"etc/config/system": "\toption zonename 'Europe/Berlin'\n"}, ""),
        ({"etc/config/system": "\toption zonename '../../etc/shadow'\n", "etc/shadow": ""}, ""),
        ({"etc/TZ": "not a zone\n"}, ""),
        ({"etc/TZ": BERLIN, "etc/localtime": "known"}, ""),
    ],
)  # fmt: skip
def test_the_zone_is_found(tmp_path: Path, files: dict[str, str], zone: str) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    assert use_host_zone(tmp_path, {}) == zone


def test_local_time_is_that_of_the_host(tmp_path: Path) -> None:
    write(tmp_path, "etc/TZ", BERLIN)
    assert use_host_zone(tmp_path) == BERLIN
    assert time.localtime(1_784_000_000).tm_gmtoff == 7200
    assert time.localtime(1_770_000_000).tm_gmtoff == 3600


def test_a_zone_of_the_environment_stays(tmp_path: Path) -> None:
    write(tmp_path, "etc/TZ", BERLIN)
    environ = {"TZ": "UTC"}
    assert use_host_zone(tmp_path, environ) == ""
    assert environ == {"TZ": "UTC"}
