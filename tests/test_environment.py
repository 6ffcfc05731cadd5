"""The environment of programs that the agent starts."""

from __future__ import annotations

import pytest

from agent.environment import child_environment, clean_environment


def test_programs_run_without_the_libraries_of_a_frozen_agent() -> None:
    frozen = {"LD_LIBRARY_PATH": "/opt/agent/_internal", "PATH": "/bin"}
    assert child_environment({**frozen, "LD_LIBRARY_PATH_ORIG": "/lib"}) == {"LD_LIBRARY_PATH": "/lib", "PATH": "/bin"}
    inside = child_environment({**frozen, "_PYI_APPLICATION_HOME_DIR": "/opt/agent/_internal"})
    assert "LD_LIBRARY_PATH" not in inside
    assert child_environment({"LD_LIBRARY_PATH": "/mine"}) == {"LD_LIBRARY_PATH": "/mine"}


def test_programs_of_pipelines_run_without_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/agent/_internal")
    monkeypatch.setenv("_PYI_APPLICATION_HOME_DIR", "/opt/agent/_internal")
    monkeypatch.setenv("EDGE_AGENT_SECRET", "s3cret")
    env = clean_environment(MORE="yes")
    assert env["MORE"] == "yes"
    assert not {"LD_LIBRARY_PATH", "EDGE_AGENT_SECRET", "_PYI_APPLICATION_HOME_DIR"} & set(env)
