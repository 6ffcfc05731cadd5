"""Versions of releases and their order: Semantic Versioning 2.0.0 without build metadata."""

from __future__ import annotations

import re
from functools import total_ordering

from agent.errors import ConfigError

MAX_VERSION = 64
"""Most characters of a version."""
PATTERN = (
    r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})"
    r"(?:-((?:0|[1-9][0-9]{0,8}|[0-9]*[a-z][0-9a-z]*)(?:\.(?:0|[1-9][0-9]{0,8}|[0-9]*[a-z][0-9a-z]*))*))?$"
)
"""MAJOR.MINOR.PATCH, and for a pre-release a dash and parts of digits and small letters; names of packages hold it unchanged."""
_FORM = re.compile(PATTERN)


@total_ordering
class Version:
    """A version, ordered as Semantic Versioning orders them: a pre-release comes before its release."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError (`release.version`) for a text that is not a version."""
        found = _FORM.fullmatch(text) if len(text) <= MAX_VERSION else None
        if found is None or text.endswith("\n"):
            raise ConfigError(
                f"{text[:MAX_VERSION]!r} is not a version",
                hint="write it like 1.2.3, or 1.3.0-rc.1 for a pre-release",
                code="release.version",
            )
        self.text = text
        self.release = (int(found[1]), int(found[2]), int(found[3]))
        self.pre: tuple[str, ...] = tuple(found[4].split(".")) if found[4] else ()

    @property
    def _key(self) -> tuple[object, ...]:
        # A number is before a word, and a shorter list before a longer one that begins with it (rule 11.4).
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (*self.release, not self.pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.text == other.text

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version({self.text!r})"
