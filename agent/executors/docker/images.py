"""Images that travel: saved as a stream of bytes, and loaded from a file after a check."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.executors.contract import broken
from agent.executors.docker.api import DockerApi, NoImage
from agent.executors.docker.archive import PIECE, only_image, wrong

PATIENCE = 900
"""Seconds that the engine may be silent: it copies a whole image before it sends or answers anything."""
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64", "arm": "armv7"}
"""The agent's names of architectures by those of images and engines."""


class ImageFacts(msgspec.Struct, frozen=True):
    """An image of this node: its id, the bytes of its layers, and the architecture that it is for, as `arch` labels have it."""

    id: str
    size: int
    arch: str


class Images:
    """The images of this node's engine. Every call raises Unreachable without an engine."""

    def __init__(self, host: str = "") -> None:
        self._api = DockerApi(host, timeout=PATIENCE)
        self._closed = threading.Event()

    async def facts(self, name: str) -> ImageFacts:
        """The facts of an image by its name or id; raises NoImage."""

        def work(client: Any) -> ImageFacts:
            found = client.images.get(name)
            arch = str(found.attrs.get("Architecture", ""))
            return ImageFacts(str(found.id), int(found.attrs.get("Size", 0)), MACHINES.get(arch, arch))

        return await self._api.call(work)

    def save(self, image: str) -> Iterator[bytes]:
        """The archive of the image with this id, without names, in pieces, for a thread; raises NoImage, StepFailed."""

        def work(client: Any) -> Iterator[bytes]:
            for piece in client.images.get(image).save(chunk_size=PIECE, named=False):
                if self._closed.is_set():
                    raise broken("the agent is stopping", code="step.stopped")
                yield piece

        return self._api.stream(work)

    async def load(self, archive: Path, image: str, name: str) -> None:
        """Load the image with this id, and nothing else, from an archive; it gets `name` where that name is free.

        Raises BlobError (`image.wrong`) where the archive is not that image, and StepFailed (`docker.refused`).
        """
        await self._api.call(lambda client: _load(client, archive, image))
        try:
            await self._api.call(lambda client: client.images.get(name))
        except NoImage:
            await self._api.call(lambda client: _tag(client, image, name))

    def close(self) -> None:
        """End a stream that is being saved, then the threads."""
        self._closed.set()
        self._api.close()


def _load(client: Any, archive: Path, image: str) -> None:
    import docker.errors

    with archive.open("rb") as file:
        for answer in client.api.load_image(only_image(file, image), quiet=True):
            if "error" in answer:
                raise wrong(f"the engine refuses it: {str(answer['error'])[:200]}")
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:  # an engine with another store has other ids
        raise wrong("the engine gives it another id") from None


def _tag(client: Any, image: str, name: str) -> None:
    import docker.utils

    repository, tag = docker.utils.parse_repository_tag(name)
    if "@" not in name:
        client.images.get(image).tag(repository, tag=tag or "latest")
