"""Files that must survive a power cut and be read by nobody else."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path

from agent.errors import IdentityError

logger = logging.getLogger(__name__)


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path`, mode 0600, so that a crash leaves the old content or the new (tmp, fsync,
    rename).

    Makes the folder, mode 0700, where it is missing. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path, limit: int = 1024 * 1024) -> bytes | None:
    """Read a file that only we may read; None where it is missing.

    Takes back rights that others were given, with a warning in the log. Raises IdentityError when it is
    unreadable or larger than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
                logger.warning("%s could be read by others; it is private again", path)
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
