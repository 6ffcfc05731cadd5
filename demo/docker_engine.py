"""The Docker engine for the demo's detector; without one the detector runs as a local process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from agent.errors import Unreachable
from demo.environment import IMAGE, Checkout
from demo.waiting import DemoError

START_TIMEOUT = 90.0
SOCKET = Path("/var/run/docker.sock")
"""The socket of the Docker engine, unless DOCKER_HOST names another address."""


class DemoEngine:
    """The Docker engine, which the demo starts if it does not run; `why_not` says why the demo has no engine."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.started = False
        self.why_not = ""

    @property
    def usable(self) -> bool:
        """True if the detector can run in the engine."""
        return not self.why_not

    def prepare(self, *, required: bool) -> None:
        """Find or start the engine and look for the detector's image.

        Raises DemoError if the engine is required and not usable.
        """
        self.why_not = self._find()
        if self.why_not and required:
            raise DemoError(
                f"Docker is required but not usable: {self.why_not}",
                hint="make demo installs Docker if it can and builds the image; or leave out --require-docker",
                code="demo.docker",
            )

    def _find(self) -> str:
        client, why_not = _client()
        if client is None and not os.environ.get("DOCKER_HOST"):
            if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
                return "an engine runs, but you may not use it: run sudo usermod -aG docker $USER and log in again"
            why_not = self._start() or why_not
            client, why_not = _client() if self.started else (None, why_not)
        if client is None:
            return why_not
        import docker.errors

        try:
            client.images.get(IMAGE)
        except docker.errors.ImageNotFound:
            return f"the engine has no image {IMAGE} (scripts/build_detector.py builds it)"
        except docker.errors.DockerException as e:
            return f"the engine fails: {e}"
        finally:
            client.close()
        return ""

    def _start(self) -> str:
        """Start the installed engine; returns the reason why that failed, empty on success."""
        if shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            return "no Docker engine is installed"
        self.started = True  # set first, so that an interrupted start is also undone
        done = _script(self.checkout.root / "scripts/docker-engine.sh")
        self.started = done.returncode == 0
        return "" if self.started else (done.stderr.strip().splitlines() or ["the engine does not start"])[-1]

    def sweep(self, owners: list[str]) -> None:
        """Remove containers of killed agents (`owners` are node ids), then stop the engine if the demo started it."""
        try:
            if self.usable:
                asyncio.run(_remove_containers(owners))
        finally:
            if self.started:
                _script(self.checkout.root / "scripts/docker-engine.sh", "--stop")
                self.started = False


def _client() -> tuple[Any, str]:
    import docker
    import docker.errors
    import requests

    try:
        client = docker.from_env(timeout=20)
        client.ping()
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as e:
        where = os.environ.get("DOCKER_HOST", "the standard socket")
        return None, f"no Docker engine answers at {where} ({type(e).__name__})"
    return client, ""


async def _remove_containers(owners: list[str]) -> None:
    from agent.executors import OWNER_LABEL, DockerExecutor

    for owner in owners:
        with tempfile.TemporaryDirectory() as scratch:
            engine = DockerExecutor(owner, Path(scratch))
            try:
                await engine.sweep()
            except Unreachable:
                return  # without an engine no container runs
            finally:
                await engine.close()
            if engine.left:
                hint = f"docker ps -a --filter label={OWNER_LABEL} lists them"
                raise DemoError(f"{engine.left} containers of the demo could not be removed", hint=hint)


def _script(*command: str | Path) -> subprocess.CompletedProcess[str]:
    words = [str(c) for c in command]
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=START_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} took more than {START_TIMEOUT:.0f} s")
