"""MAC addresses: their one form as names of devices, and their forms in texts."""

from __future__ import annotations

import re

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")

MAC_IN_TEXT = re.compile(
    r"(?<![0-9A-Fa-f])(?<![^0-9A-Fa-f][0-9A-Fa-f]{2}[:.-])(?<!\A[0-9A-Fa-f]{2}[:.-])"
    r"(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})"
    r"(?![0-9A-Fa-f]|[:.-][0-9A-Fa-f]{2}(?![0-9A-Fa-f]))"
)
"""aa:bb:cc:dd:ee:ff, AA-BB-CC-DD-EE-FF, aabb.ccdd.eeff; a colon, dash or full stop of the sentence may be beside it."""


_SPELLINGS = re.compile(
    r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}|[0-9a-f]{6}-?[0-9a-f]{6}"
)


def mac_of(text: str) -> str:
    """The MAC address in its one form: from pairs with colons or dashes, from aabb.ccdd.eeff, or without separators.

    Empty where the text is no MAC.
    """
    plain = text.strip().lower()
    if not _SPELLINGS.fullmatch(plain):
        return ""
    digits = re.sub(r"[:.-]", "", plain)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def is_mac(text: str) -> bool:
    """Whether this is a MAC address as devices are named by it: six pairs of lower-case hex digits between colons."""
    return _MAC.match(text) is not None
