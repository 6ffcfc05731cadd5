"""A second Docker engine on this machine, without images: for what travels from one engine to another."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

STARTED_WITHIN = 60.0


@contextmanager
def second_engine() -> Iterator[str]:
    """The address of a fresh engine without any image, ended with the block; skips the test where it cannot run."""
    dockerd = shutil.which("dockerd", path="/usr/sbin:/sbin:/usr/bin:/usr/local/bin")
    if dockerd is None:
        pytest.skip("no dockerd is installed")
    folder = Path(tempfile.mkdtemp(prefix="edge-engine."))  # a socket's path has at most 107 bytes
    address = f"unix://{folder}/s"
    options = [
        "--data-root",
        f"{folder}/data",
        "--exec-root",
        f"{folder}/exec",
        "--pidfile",
        f"{folder}/pid",
        "--host",
        address,
    ]
    options += ["--bridge", "none", "--iptables=false", "--ip-masq=false"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([dockerd, *options], stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTED_WITHIN
    while True:
        if _listens(address):
            client = docker.DockerClient(base_url=address, timeout=30)
            try:
                client.ping()
            finally:
                client.close()
            return
        if process.poll() is not None or time.monotonic() > end:
            pytest.skip(f"a second engine does not start here: {log.read_text(errors='replace')[-400:]}")
        time.sleep(0.2)


def _listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.removeprefix("unix://"))
        except OSError:
            return False
        return True
