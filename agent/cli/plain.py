"""Text of other nodes, safe to show on a terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that change the direction of writing."""


def plain(text: str) -> str:
    """The text without control sequences: names, log lines and errors may come from another node."""
    return _CONTROL.sub("\ufffd", text)
