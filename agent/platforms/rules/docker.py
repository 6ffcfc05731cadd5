"""Does a container engine answer?"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from agent.platforms.facts import Host

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
PATIENCE = 1.0
"""Seconds to wait for the engine's answer."""
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"


def labels(host: Host) -> dict[str, str]:
    """`docker=true` where the engine that DOCKER_HOST or the configuration names, or a local one, answers a ping."""
    address = host.docker_host or host.environ.get("DOCKER_HOST", "")
    if address:
        answers = _ping(address)
    else:
        answers = any(_ping(f"unix://{host.path(path)}") for path in SOCKETS if host.exists(path))
    return {"docker": "true"} if answers else {}


def _ping(address: str) -> bool:
    """Whether an engine answers at `unix://PATH` or `tcp://HOST:PORT`; False after any failure."""
    try:
        parts = urlsplit(address)
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
        elif parts.scheme in ("tcp", "http") and parts.hostname:
            connection = socket.create_connection((parts.hostname, parts.port or 2375), PATIENCE)
        else:
            return False
        with connection:
            if parts.scheme == "unix":
                connection.connect(parts.path)
            connection.sendall(_PING)
            with connection.makefile("rb") as answer:
                status = answer.readline(100).split()
            return len(status) > 1 and status[0].startswith(b"HTTP/") and status[1] == b"200"
    except (OSError, ValueError):
        return False
