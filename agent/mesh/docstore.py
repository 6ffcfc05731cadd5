"""The folder of signed documents: one envelope a file, `<kind>/<name>.json`, written atomically."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from agent.errors import IdentityError
from agent.files import read_private, write_private
from agent.identity import MAX_ENVELOPE

logger = logging.getLogger(__name__)


class DocumentFolder:
    """Reads and writes envelopes; the caller checks kinds and names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, kind: str, name: str, envelope: bytes) -> None:
        """Keep an envelope; it survives a power cut once this returns. Raises OSError."""
        write_private(self._folder / kind / f"{name}.json", envelope)

    def read(self) -> Iterator[tuple[Path, bytes]]:
        """Every envelope; unreadable files are logged and left out."""
        for path in sorted(self._folder.glob("*/*.json")):
            if path.name.startswith("."):
                continue
            try:
                raw = read_private(path, MAX_ENVELOPE)
            except (OSError, IdentityError) as error:
                logger.warning("mesh: %s cannot be read: %s", path, error)
                continue
            if raw is not None:
                yield path, raw
