"""An image that holds nothing but a static busybox, made on the spot."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import docker
import docker.errors

NAME, TAG = "edge/test-busybox", "1"
IMAGE = f"{NAME}:{TAG}"
TOOLS = (
    *("sh", "cat", "echo", "dd", "sed", "head", "sleep", "ln", "mkfifo", "mkdir", "kill", "yes", "touch", "seq"),
    *("env", "id", "ls", "true", "grep", "rm", "tail", "wc", "ip"),
)


def busybox_image() -> str:
    """The image's name; needs Debian's busybox-static."""
    client = docker.from_env()
    try:
        try:
            client.images.get(IMAGE)
        except docker.errors.ImageNotFound:
            client.api.import_image_from_data(_root(), repository=NAME, tag=TAG)
        return IMAGE
    finally:
        client.close()


def _root() -> bytes:
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        for folder in ("bin", "tmp", "blobs", "outputs"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        data = Path("/bin/busybox").read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
        for tool in TOOLS:
            entry = tarfile.TarInfo(f"bin/{tool}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return tar_bytes.getvalue()
