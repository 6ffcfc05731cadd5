"""The API's server: its unix socket, and uvicorn in the agent's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.api.light_uvicorn import Config, Server
from agent.api.peer import PeerProtocol
from agent.api.resources import Resources
from agent.api.routes import ROUTES
from agent.api.web import Closing, endpoint, failure
from agent.errors import CannotListen, EdgeError, NotFound, Refused

logger = logging.getLogger(__name__)

LONGEST_PATH = 100
"""Longest socket path in bytes: sun_path holds 108 (unix(7)), and the path is first bound under a longer
name."""
MOST_CONNECTIONS = 64


def make_app(resources: Resources) -> Starlette:
    """The ASGI application over the resources of one node."""
    routes = [Route(r.path, endpoint(r), methods=[r.method]) for r in ROUTES]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    app.state.resources = resources
    app.state.closing = Closing()
    return app


async def serve_api(resources: Resources, listening: Callable[[], None] = lambda: None) -> None:
    """Serve the API on the configuration's `run` until cancelled, then leave no socket behind.

    `listening` is called when clients can connect.

    Raises Refused when another agent listens there, CannotListen when the socket cannot be made.
    """
    config = resources.config.values
    path = config.run
    app = make_app(resources)
    sock = open_socket(path, config.api.group)
    listening()
    server = QuietServer(
        Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[sock]), name="api")
    try:
        await asyncio.shield(task)
    finally:
        app.state.closing.event.set()
        server.end()
        await asyncio.wait({task})
        path.unlink(missing_ok=True)


def open_socket(path: Path, group: str) -> socket.socket:
    """A listening unix socket of mode 0660 and, where it exists, this group; it appears under `path` ready
    for use."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise CannotListen(
            f"the socket's path {path} is longer than {LONGEST_PATH} bytes", hint="set run: to a shorter one"
        )
    if _is_alive(path):
        raise Refused(
            f"another agent listens on {path}",
            hint="stop it first, or give this one its own --state and --socket",
            code="agent.running",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f".{os.getpid()}")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)
        fresh.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            sock.bind(str(fresh))
        finally:
            os.umask(before)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(fresh, -1, grp.getgrnam(group).gr_gid)
        fresh.chmod(0o660)
        sock.listen(MOST_CONNECTIONS)
        sock.setblocking(False)
        fresh.rename(path)
    except OSError as e:
        sock.close()
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise CannotListen(
            f"the socket {path} cannot be made: {e.strerror}", hint="check the folder's owner, or set --socket"
        ) from e
    return sock


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = NotFound if status == 404 else EdgeError
    response = failure(
        kind(
            f"{request.method} {request.url.path} is not part of this API",
            hint="is the CLI of the same version?",
            code="api.request",
        )
    )
    response.status_code = status
    return response


class QuietServer(Server):
    """uvicorn inside a program that handles its signals itself, and that sleeps while there are no requests."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn's own loop wakes ten times a second, more often than everything else in an idle agent."""
        await self.on_tick(0)
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
