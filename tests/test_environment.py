"""The environment of programs that the agent starts."""

from __future__ import annotations

import pytest

from agent.environment import clean_environment


def test_programs_of_pipelines_get_no_secret_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_SECRET", "s3cret")
    env = clean_environment(MORE="yes")
    assert env["MORE"] == "yes"
    assert "EDGE_AGENT_SECRET" not in env
