"""The face of the API loads only what is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agent.api

HEAVY = {"starlette", "uvicorn", "zenoh", "docker", "cryptography", "cv2"}


def loaded(code: str) -> set[str]:
    """The modules that a new Python has after these lines."""
    lines = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split())


def test_results_load_no_server_and_no_client() -> None:
    assert not loaded("from agent.api import results") & (HEAVY | {"httpx"})


def test_the_client_loads_no_server() -> None:
    assert not loaded("from agent.api import Client, path_of, read, results") & HEAVY


@pytest.mark.parametrize("name", agent.api.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert getattr(agent.api, name).__name__.rpartition(".")[2] == name
