"""Reading files that nobody else may read."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from agent.errors import IdentityError

logger = logging.getLogger(__name__)


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
