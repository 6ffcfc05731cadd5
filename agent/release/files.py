"""Checking the files of a release against its manifest."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

from agent.errors import IdentityError
from agent.release.manifest import Package

_PIECE = 1024 * 1024


def check_package(file: BinaryIO, package: Package) -> None:
    """Check that an open file is this package, from its first byte to its last; raises IdentityError (`release.package`).

    It reads in pieces of 1 MiB, never more than the package's size, and leaves the file at its start. Unpack from the same
    open file: another file may have its name a moment later. Raises OSError.
    """
    size = file.seek(0, os.SEEK_END)
    if size != package.size:
        raise _differs(package, f"has {size} bytes, and {package.size} are in the manifest")
    file.seek(0)
    digest, left = hashlib.sha256(), package.size
    while left:
        piece = file.read(min(_PIECE, left))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    if left or digest.hexdigest() != package.sha256:
        raise _differs(package, "has another SHA-256 than in the manifest")
    file.seek(0)


def _differs(package: Package, why: str) -> IdentityError:
    return IdentityError(
        f"{package.file} {why}",
        hint="fetch it again; if it repeats, the copy that you fetch was changed",
        code="release.package",
    )
