"""The Docker Engine API by its SDK: each call runs in a thread, and each failure becomes one of our errors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agent.errors import EdgeError, NotFound, Unreachable, in_words
from agent.executors.contract import broken

T = TypeVar("T")

DEFAULT_HOST = "unix:///var/run/docker.sock"
TIMEOUT = 60
"""Seconds for one call of the engine's API."""
THREADS = 4
_HINT = "start the Docker engine (systemctl start docker), or check docker.host and the rights on its socket"


class NoImage(NotFound):
    """The engine does not have the image."""


class DockerApi:
    """The engine's API; the connection is made at the first call and again after a failure.

    `timeout` is the seconds that the engine may be silent.
    """

    def __init__(self, host: str = "", *, timeout: int = TIMEOUT) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self._timeout = timeout
        self._client: Any = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")

    async def call(self, work: Callable[[Any], T]) -> T:
        """Run `work(client)` in a thread.

        Raises Unreachable without an engine, NotFound for an object that the engine does not have (NoImage for an image),
        StepFailed (`docker.refused`) for any other refusal.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._work, work)

    def stream(self, work: Callable[[Any], Iterator[T]]) -> Iterator[T]:
        """The items of `work(client)`, for a thread of the caller; raises as `call` does."""
        with self._failures():
            yield from work(self._connected())

    def _work(self, work: Callable[[Any], T]) -> T:
        with self._failures():
            return work(self._connected())

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            _probe(self.host)
        except OSError as e:
            self._drop()
            raise _away(e) from e
        # Without an engine the SDK is not loaded: it costs start time and memory.
        import docker.errors
        import requests

        try:
            yield
        except docker.errors.ImageNotFound as e:
            raise NoImage(f"docker: {_text(e)}", hint="load, pull or build it on this node") from e
        except docker.errors.NotFound as e:
            raise NotFound(f"docker: {_text(e)}", hint="see the engine's own log") from e
        except docker.errors.APIError as e:
            raise _refused(_text(e)) from e
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as e:
            self._drop()
            raise _away(e) from e

    def _connected(self) -> Any:
        import docker

        if self._client is None:
            if self.host.startswith("https://"):
                raise Unreachable("a Docker engine behind TLS is not supported", hint="use its unix socket")
            self._client = docker.DockerClient(base_url=self.host, timeout=self._timeout, max_pool_size=THREADS)
        return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def close(self) -> None:
        """Close the connection and end the threads; blocks until running calls end."""
        self._threads.shutdown()
        self._drop()


def _probe(host: str) -> None:
    """Raise OSError when nothing listens on a unix socket: the SDK leaves a descriptor behind when it finds out."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def attach(container: Any, *, stdin: bool) -> socket.socket:
    """A socket with the container's stdout and stderr, and its stdin; to be called before the container starts.

    Later, its first lines would be lost.
    """
    params = {"stdin": int(stdin), "stdout": 1, "stderr": 1, "stream": 1}
    raw = container.client.api.attach_socket(container.id, params)
    try:
        return socket.socket(fileno=os.dup(raw.fileno()))
    finally:
        response = getattr(raw, "_response", None)
        if response is not None:
            response.close()
        raw.close()


async def follow_output(host: str, container: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """All output of a container from its start to its end, as frames; raises Unreachable.

    To attach again with its log, as `docker attach` can, would give lines twice that come meanwhile. The SDK mixes stdout
    and stderr. HTTP/1.0 has no chunks, so that what follows the head are the frames.
    """
    try:
        if host.startswith("unix://"):
            reader, writer = await asyncio.open_unix_connection(host.removeprefix("unix://"))
        else:
            address = urlsplit(host)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError as e:
        raise _away(e) from e
    try:
        writer.write(f"GET /containers/{container}/logs?follow=1&stdout=1&stderr=1 HTTP/1.0\r\n\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise Unreachable(
                f"docker: no output of container {container[:12]}: {head[:100]!r}", hint=_HINT, code="docker.away"
            )
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as e:
        writer.transport.abort()
        raise _away(e) from e
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _away(e: Exception) -> Unreachable:
    return Unreachable(f"no Docker engine answers: {in_words(e)}", hint=_HINT, code="docker.away")


def _refused(text: str) -> EdgeError:
    hint = "see the engine's own log"
    if "could not select device driver" in text or "nvidia" in text.lower():
        hint = "this node's Docker engine has no GPU runtime: install the NVIDIA container toolkit, or take gpus off"
    elif "No such image" in text:
        hint = "load, pull or build the image on this node"
    return broken(f"docker refuses: {text}", code="docker.refused", hint=hint)


def _text(e: Exception) -> str:
    return " ".join(str(getattr(e, "explanation", None) or e).split())[:400]
