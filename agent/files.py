"""Files that survive a power cut, and files that only this user may read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from agent.errors import IdentityError

logger = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends, and is removed when the block raises.

    A crash leaves the old content or the new, and the new one is on the disk afterwards (temporary file, fsync, rename,
    fsync of the folder). `mode` is cut by the umask. Raises OSError.
    """
    fresh = path.with_name(f".{path.name[:40]}.{os.urandom(8).hex()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut; raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_private(path: Path, data: bytes) -> None:
    """Replace the content of `path`, mode 0600; see `replacing`.

    Makes the folder, mode 0700, where it is missing. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)


def read_private(path: Path, limit: int = 1024 * 1024) -> bytes | None:
    """Read a file that only this user may read; None where it is missing.

    Removes the access of other users, with a warning in the log. Raises IdentityError when it is
    unreadable or larger than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
                logger.warning("%s was readable by others; set to private", path)
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(
            f"cannot read {path}: {error.strerror}", hint="run the agent as the owner of its state"
        ) from error
    if len(data) > limit:
        raise IdentityError(f"{path} is larger than {limit} bytes", hint="it is damaged; restore it from a backup")
    return data
