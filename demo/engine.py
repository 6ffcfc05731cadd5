"""Which detector the demo uses: the container where a Docker engine can be had, else the same program as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from demo.house import DemoError
from demo.place import IMAGE, Checkout

START_TIMEOUT = 90.0
SOCKET = Path("/var/run/docker.sock")
"""Where an engine listens that nothing else names."""


class Engine:
    """A Docker engine, started for the demo when it was not running; `why_not` says why there is none."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.started = False
        self.why_not = ""

    @property
    def usable(self) -> bool:
        """Whether the detector can run in it."""
        return not self.why_not

    def prepare(self, *, required: bool) -> None:
        """Find or start it and look for the detector's image; raises DemoError when it is required and not usable."""
        self.why_not = self._find()
        if self.why_not and required:
            raise DemoError(
                f"Docker is required and cannot be used: {self.why_not}",
                hint="make demo installs what it can and builds the image; without --require-docker a process will do",
                code="demo.docker",
            )

    def _find(self) -> str:
        client, why_not = _client()
        if client is None and not os.environ.get("DOCKER_HOST"):
            if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
                return "an engine is here, but you may not use it: sudo usermod -aG docker $USER"
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
        """Start an engine that is installed; returns why not."""
        if shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            return "no Docker engine is installed"
        self.started = True  # before it is: an interrupted start must be undone, too
        done = _script(self.checkout.root / "scripts/docker-engine.sh")
        self.started = done.returncode == 0
        return "" if self.started else (done.stderr.strip().splitlines() or ["the engine does not start"])[-1]

    def sweep(self, owners: list[str]) -> None:
        """Remove the containers of agents that could not do it themselves, then stop the engine if it was started here."""
        if self.usable:
            _remove_containers(owners)
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


def _remove_containers(owners: list[str]) -> None:
    import docker.errors
    import requests

    from agent.executors import OWNER_LABEL

    client, _ = _client()
    if client is None:
        return
    try:
        for owner in owners:
            for container in client.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={owner}"}):
                container.remove(force=True)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as e:
        raise DemoError(f"a container may be left: {e}", hint=f"docker ps -a --filter label={OWNER_LABEL}") from e
    finally:
        client.close()


def _script(*command: str | Path) -> subprocess.CompletedProcess[str]:
    words = [str(c) for c in command]
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=START_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} took more than {START_TIMEOUT:.0f} s")
