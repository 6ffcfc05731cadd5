"""Reading a file of a release with a limit."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError, NotFound


def read_file(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes; raises NotFound (`release.file`), ConfigError (`release.too-large`), OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise NotFound(
            f"there is no {path.name} in {path.parent}",
            hint="name a folder that make packages filled, and sign it with edge-agent release sign",
            code="release.file",
        ) from None
    if len(data) > limit:
        raise ConfigError(f"{path.name} has more than {limit} bytes", hint="fetch it again", code="release.too-large")
    return data
