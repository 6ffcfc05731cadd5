"""The start of a frozen program, and the command that starts it again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from agent import frozen
from agent.children import worker_command
from agent.environment import child_environment


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `_internal` of a frozen program; PyInstaller's start sets the same two attributes."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "edge-agent"))
    monkeypatch.setattr(frozen, "COMM", tmp_path / "comm")
    monkeypatch.setattr(frozen, "CERTIFICATES", (str(tmp_path / "system.pem"),))
    for name in list(os.environ):
        if name.startswith(("LD_", "SSL_", "_PYI_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


def test_library_path_from_before_the_start_comes_back(tree: Path) -> None:
    os.environ.update(LD_LIBRARY_PATH=f"{tree}:/mine", LD_LIBRARY_PATH_ORIG="/mine", _PYI_ARCHIVE_FILE="x")
    frozen.prepare()
    assert os.environ["LD_LIBRARY_PATH"] == "/mine"
    assert not [name for name in os.environ if name.startswith("_PYI_") or name.endswith("_ORIG")]


def test_library_path_of_the_tree_does_not_reach_children(tree: Path) -> None:
    os.environ["LD_LIBRARY_PATH"] = str(tree)
    frozen.prepare()
    assert "LD_LIBRARY_PATH" not in child_environment()
    assert (tree / "comm").read_text() == "edge-agent"


def test_certificates_of_the_system_come_before_the_trees(tree: Path) -> None:
    frozen.prepare()
    assert os.environ["SSL_CERT_FILE"] == str(tree / frozen.BUNDLE)
    assert "SSL_CERT_FILE" not in child_environment()
    del os.environ["SSL_CERT_FILE"]
    (tree / "system.pem").touch()
    frozen.prepare()
    assert os.environ["SSL_CERT_FILE"] == child_environment()["SSL_CERT_FILE"] == str(tree / "system.pem")


def test_certificates_that_the_user_names_are_kept(tree: Path) -> None:
    os.environ["SSL_CERT_DIR"] = "/my/certificates"
    frozen.prepare()
    assert "SSL_CERT_FILE" not in os.environ


def test_workers_start_through_the_loader_of_the_tree(tree: Path) -> None:
    program = str(tree / "edge-agent")
    assert worker_command("agent.x", "x-child", "1") == [program, "x-child", "1"]
    (tree / "ld-linux-armhf.so.3").touch()
    loader = [str(tree / "ld-linux-armhf.so.3"), "--library-path", str(tree), program]
    assert worker_command("agent.x", "x-child", "1") == [*loader, "x-child", "1"]


def test_without_a_tree_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    frozen.prepare()
    assert child_environment() == dict(os.environ)
    assert worker_command("agent.x", "x-child", "1") == [sys.executable, "-P", "-m", "agent.x", "1"]
    with pytest.raises(RuntimeError):
        frozen.own_command()
