"""The exceptions that decoding bytes from elsewhere may raise."""

from __future__ import annotations

import msgspec

DAMAGED = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""For `except`: bytes that are no such message. msgspec raises its own error for most, and lets through as they are
Python's for text that is not UTF-8 and for nesting without end."""
