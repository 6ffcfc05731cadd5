"""The exceptions that decoding bytes from elsewhere may raise."""

from __future__ import annotations

import msgspec

DAMAGED = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""For `except`: the bytes are not a valid message. msgspec raises its own error for most faults, but Python's errors for text
that is not UTF-8 and for endless nesting."""
