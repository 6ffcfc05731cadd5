"""The man pages as the packages bring them, read by a real formatter of man pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.main import NOUNS

ROOT = Path(__file__).parents[2]
PAGES = ("edge-agent.1", "edge-sink.1")


def write(folder: Path) -> Path:
    command = [sys.executable, str(ROOT / "scripts/man_pages.py"), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("man"))


@pytest.mark.parametrize("page", PAGES)
def test_a_formatter_has_nothing_to_say(page: str, pages: Path) -> None:
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", str(pages / page)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_command_has_its_place(pages: Path) -> None:
    text = (pages / "edge-agent.1").read_text()
    missing = [
        noun.name for noun in NOUNS if not any(line.startswith(f".SS {noun.name}") for line in text.splitlines())
    ]
    assert missing == []
    assert ".SS demo" not in text
    assert ".SS key create" in (pages / "edge-sink.1").read_text()


def test_two_builds_are_equal(pages: Path, tmp_path: Path) -> None:
    again = write(tmp_path)
    assert [(again / p).read_bytes() for p in PAGES] == [(pages / p).read_bytes() for p in PAGES]


def test_no_markup_is_left(pages: Path) -> None:
    for page in PAGES:
        text = (pages / page).read_text()
        assert "[/bold]" not in text
        assert "[bold]" not in text
