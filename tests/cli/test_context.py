"""The choice of the agent's socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent import config
from agent.cli import context
from agent.errors import ConfigError


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a fault, and the place of the standard socket."""
    file = tmp_path / "config.yaml"
    file.write_text("lgo: 1\n")
    monkeypatch.setenv("EDGE_AGENT_CONFIG", str(file))
    monkeypatch.delenv("EDGE_AGENT_SOCKET", raising=False)
    monkeypatch.setattr(config, "DEFAULT_SOCKET", tmp_path / "agent.sock")
    return tmp_path / "agent.sock"


def test_a_running_agent_is_asked_in_spite_of_a_faulty_file(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(faulty))
        assert context.socket_path() == faulty
    assert "unknown key lgo" in capsys.readouterr().err


def test_without_a_running_agent_a_faulty_file_is_an_error(faulty: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key lgo"):
        context.socket_path()
